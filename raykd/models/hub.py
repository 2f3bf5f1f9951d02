"""Uploading a checkpoint to the Hugging Face hub, only ever because a person asked for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

from raykd.errors import ConfigError, ModelError, one_line


def push(folders: Sequence[Path], repository: str) -> str:
    """Uploads the first folder as the repository's root and the others beside it by their names; returns the address.

    A repository that is not there is made, and made private.

    Raises:
        ConfigError: that is no name of a repository.
        ModelError: the hub refuses it or cannot be reached.
    """
    hub = HfApi()
    try:
        address = hub.create_repo(repository, private=True, exist_ok=True)
        root, *beside = folders
        hub.upload_folder(repo_id=repository, folder_path=root)
        for folder in beside:
            if root not in folder.parents:  # else it went with the root
                hub.upload_folder(repo_id=repository, folder_path=folder, path_in_repo=folder.name)
    except HFValidationError:
        raise ConfigError(f"--push-to-hub {repository}", "is no name of a repository", "give OWNER/NAME") from None
    except HfHubHTTPError as error:
        what = f"the hub refused it (HTTP {error.response.status_code})"
        raise ModelError(repository, what, "log in with `hf auth login`, and check your access") from None
    except (HTTPError, OSError):  # what the client's HTTP library raises is no OSError
        raise ModelError(repository, "the hub could not be reached", "check the network") from None
    except ValueError as error:
        what = f"the hub does not take its card ({one_line(error, 200)})"
        raise ModelError(str(folders[0] / "README.md"), what, "correct the lines between ---") from None
    return str(address)
