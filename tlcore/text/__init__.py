"""Transfer for text: word vectors, sentence encoders, and language models that are fine-tuned into classifiers.

>>> from tlcore import text
>>> recipe = text.ulmfit.Recipe(vocabulary=60, embedding=16, hidden=32, epochs=9, batch_size=2, bptt=10, lr=0.03)
>>> lm = text.ulmfit.pretrain_lm(["a cat sat on a mat"] * 40, recipe, progress=False)
>>> lm.generate("a cat")
'a cat sat on a mat'
"""

from __future__ import annotations

from tlcore.text import procrustes, skip_thought, ulmfit, word2vec

__all__ = ["procrustes", "skip_thought", "ulmfit", "word2vec"]
