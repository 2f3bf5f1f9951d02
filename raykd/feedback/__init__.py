"""What teachers learn from the student: nothing, MetaDistil's pilot and quiz, IKD's exam. Plain torch, without Ray.

`before` and `after` take the whole round of a worker and not single micro-batches, since the pilot's step and the
quiz belong to the global batch.
"""

from raykd.feedback.base import Feedback, Round
from raykd.feedback.context import FeedbackContext, LearnableTeachers
from raykd.feedback.ikd import IKD
from raykd.feedback.metadistil import MetaDistil
from raykd.feedback.none import NoFeedback
from raykd.feedback.quiz import QuizLoss

__all__ = ["IKD", "Feedback", "FeedbackContext", "LearnableTeachers", "MetaDistil", "NoFeedback", "QuizLoss", "Round"]
