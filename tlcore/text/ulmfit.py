"""ULMFiT: universal language model fine-tuning for text classification (Howard, Ruder 2018, arXiv:1801.06146).

Stage 1, `pretrain_lm`: a language model from a large, general text.
"""

from __future__ import annotations

from tlcore.text.awd_lstm import AWDLSTM, Dropouts
from tlcore.text.language_model import LanguageModel
from tlcore.text.pretrain import Recipe, pretrain_folder, pretrain_lm
from tlcore.text.tokens import Tokens

__all__ = ["AWDLSTM", "Dropouts", "LanguageModel", "Recipe", "Tokens", "pretrain_folder", "pretrain_lm"]
