"""mean_i CE(W_{d_i} x_i, y_i): one encoder, a last linear layer W_d for each domain; a baseline of the meta-teacher.

Liu et al., "Multi-Task Deep Neural Networks for Natural Language Understanding", ACL 2019. What is served is an
ordinary classifier: the encoder with the layer of one domain, or with the mean of them.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from raykd import models
from raykd.config import MultiTaskTeacherConfig
from raykd.data.batch import Batch
from raykd.data.rows import Rows
from raykd.data.tasks import Task
from raykd.errors import ConfigError, ModelError, one_line
from raykd.files import replacing_folder
from raykd.models import forward
from raykd.models.domain_head import FOLDER
from raykd.teachers.recipe import DomainRecipe
from raykd.training.job import Job, Step, StepFactory, StepLoss, WorkerContext

HEADS, DESCRIPTION = "heads.safetensors", "heads.json"


@dataclass(frozen=True)
class MultiTaskRecipe(DomainRecipe):
    """A multi-task teacher: trained once, and served with the classifier of a domain."""

    config: MultiTaskTeacherConfig

    def check(self) -> None:
        """Refuses rows without domains, of one domain alone, a regression, and a domain that is not trained."""
        super().check()
        wanted = self.config.domain
        if wanted is not None and wanted not in self.domains:
            what = f"domain: it is trained on no row of {wanted!r}"
            raise ConfigError(f"teacher {self.name}", what, f"there are {', '.join(self.domains)}")

    def step(self, start: Path, work: Path) -> StepFactory:
        """The step, with the domains in the order of their names."""
        return MultiTaskStepFactory(self.domains)

    def served(self, trained: Path) -> Path:
        """A checkpoint with the classifier of its domain; the trained one has the mean of them."""
        domain = self.config.domain or self.corpus.target
        if domain not in self.domains:
            return trained
        folder = trained / FOLDER / hashlib.sha256(str(domain).encode()).hexdigest()[:16]
        # Two runs of one domain started together: the second finds what the first has written.
        with FileLock(str(folder) + ".lock"):
            if not folder.is_dir():
                model, tokenizer = models.load(trained)
                _load_head(last_linear(model, self.task.classes, f"teacher {self.name}"), trained, str(domain))
                with replacing_folder(folder) as draft:
                    models.save(model, tokenizer, draft)
        return folder


@dataclass(frozen=True)
class MultiTaskStepFactory:
    """Builds a worker's `MultiTaskStep`; picklable."""

    domains: tuple[str, ...]

    def build(self, job: Job, worker: WorkerContext) -> Step:
        """With a copy of the classifier's last layer for each domain."""
        dtype = torch.float64 if job.settings.precision == "float64" else torch.float32
        model, _ = models.load(job.model, dtype)
        last = last_linear(model, job.task.classes, job.name)
        heads = nn.ModuleList(copy.deepcopy(last) for _ in self.domains)
        return MultiTaskStep(job.task, heads, self.domains, job.train.rows(), job.name)


class MultiTaskStep(Step):
    """Each row's loss is that of its own domain's classifier; the model's own becomes the mean of them."""

    beside: nn.ModuleList

    def __init__(self, task: Task, heads: nn.ModuleList, domains: tuple[str, ...], rows: Rows, name: str) -> None:
        super().__init__()
        self.task, self.beside, self.domains, self.rows, self.name = task, heads, domains, rows, name

    def loss(self, model: PreTrainedModel, batch: Batch) -> StepLoss:
        """The rows' share of the loss, in float32 at least also under autocast."""
        inputs: list[torch.Tensor] = []
        last = last_linear(model, self.task.classes, self.name)
        hook = last.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
        try:
            forward.logits(model, batch.encoded)
        finally:
            hook.remove()
        names = self.rows.domains(batch.ids)
        assert names is not None
        places = torch.tensor([self.domains.index(name) for name in names], device=inputs[0].device)
        each_DBC = torch.stack([head(inputs[0]) for head in self.beside])
        logits_BC = each_DBC[places, torch.arange(len(places), device=places.device)]
        logits_BC = logits_BC.to(torch.promote_types(logits_BC.dtype, torch.float32))
        hard = self.task.hard_loss(logits_BC, batch.labels_B).sum() / batch.global_rows
        return StepLoss(hard, {"hard": hard.detach()})

    def end(self, model: PreTrainedModel, optimizer: torch.optim.Optimizer, batches: list[Batch]) -> None:
        """The model's own classifier is what the model is evaluated and, for an unknown domain, served by."""
        last = last_linear(model, self.task.classes, self.name)
        with torch.no_grad():
            for name, parameter in last.named_parameters():
                parameter.copy_(torch.stack([head.get_parameter(name) for head in self.beside]).mean(0))

    def save_best(self, folder: Path) -> None:
        """The classifiers of all domains, beside the checkpoint."""
        (folder / FOLDER).mkdir(exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in self.beside.state_dict().items()},
                  folder / FOLDER / HEADS)  # fmt: skip
        (folder / FOLDER / DESCRIPTION).write_text(json.dumps({"domains": self.domains}), encoding="utf-8")


def _load_head(last: nn.Linear, trained: Path, domain: str) -> None:
    """Puts the classifier of a domain in the place of the last layer.

    Raises:
        ModelError: the files of the classifiers are damaged.
    """
    try:
        names = json.loads((trained / FOLDER / DESCRIPTION).read_text(encoding="utf-8"))["domains"]
        state, k = load_file(trained / FOLDER / HEADS), names.index(domain)
        last.load_state_dict({name: state[f"{k}.{name}"] for name in last.state_dict()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        what = f"the classifiers of its domains are damaged: {one_line(error, 120)}"
        raise ModelError(str(trained), what, "delete the folder, the teacher is then trained again") from None


def last_linear(model: nn.Module, classes: int, where: str) -> nn.Linear:
    """The last linear layer of a classifier, which gives its logits.

    Raises:
        ModelError: it has none of that kind.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear or linear[-1].out_features != classes:
        raise ModelError(where, "its classifier does not end with a linear layer", "it cannot have one for each domain")
    return linear[-1]
