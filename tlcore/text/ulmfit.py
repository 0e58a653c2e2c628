"""ULMFiT: universal language model fine-tuning for text classification (Howard, Ruder 2018, arXiv:1801.06146).

Stage 1, `pretrain_lm`: a language model from a large, general text. Stage 2, `fine_tune_lm`: it reads the target's
texts, which need no labels. Stage 3, `train_classifier`: its body gets a classifier's head, and is
thawed layer by layer.
"""

from __future__ import annotations

from tlcore.text.awd_lstm import AWDLSTM, Dropouts
from tlcore.text.classifier import TextClassifier
from tlcore.text.fine_tune import fine_tune_lm
from tlcore.text.fitted import Classifier
from tlcore.text.language_model import LanguageModel
from tlcore.text.pretrain import Recipe, pretrain_folder, pretrain_lm
from tlcore.text.tokens import Tokens
from tlcore.text.train_classifier import train_classifier
from tlcore.text.vocabulary import transfer_vocabulary

__all__ = [
    "AWDLSTM",
    "Classifier",
    "Dropouts",
    "LanguageModel",
    "Recipe",
    "TextClassifier",
    "Tokens",
    "fine_tune_lm",
    "pretrain_folder",
    "pretrain_lm",
    "train_classifier",
    "transfer_vocabulary",
]
