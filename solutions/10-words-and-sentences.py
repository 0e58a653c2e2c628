# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · What can be learnt from text that nobody has labelled?
#
# Labels are dear, text is cheap. The lectures name two things that can be made of plain text and carried to another
# task: *word2vec*, a vector for every word, and *skip-thought*, a network that reads a sentence. And they name the
# boldest journey, to another *language*. The picture below shows where it leads. On the left are words of English, put
# in their places by nothing but the company they keep; on the right words of a language that shares no word with it,
# placed in the same way from other texts, then *turned* until they fit. By the end of this lesson you will have
# written every part of this.
#
# The lesson has seven exercises and 20 points. Running all its cells takes about half a minute.

# %%
import os

os.environ["OMP_NUM_THREADS"] = "1"  # the batches are too small to be shared out; read when torch is imported

import torch

from tlcore import plots, runtime, text, worlds

plots.use_style()
torch.set_num_threads(1)
topics = ("sea", "cooking", "music", "health")
world = worlds.Language(topics=topics)
count = runtime.scaled(quick=1200, standard=2500, full=20000)
here = world.sample(count, seed=1)  # English
there = world.but(language="invented").sample(count, seed=2)  # other texts, in the course's invented language
here

# %%
short = {"dim": 32, "window": 3, "min_count": 3, "sample": 1e-3, "lr": 0.05, "batch_size": 4096, "negative": 2}
short["epochs"] = runtime.scaled(quick=4, standard=3, full=3)
ready = [text.word2vec.train_word2vec(part.inputs, progress=False, **short) for part in (here, there)]
dictionary = [(a, b) for a, b in world.dictionary().items() if a in ready[0] and b in ready[1]]
fit = text.procrustes.align(ready[1], ready[0], [(b, a) for a, b in dictionary[::2]])

# %%
from matplotlib.axes import Axes
from torch.nn import functional as F


def draw(ax: Axes, flat: torch.Tensor, words: list[str], topic: str, named: list[int]) -> None:
    """Words of one topic as dots in the plane (N, 2), some by name."""
    colour = plots.COLOURS[topics.index(topic)]
    ax.scatter(*flat.T, s=12, color=colour, label=topic)
    for n in named:
        ax.annotate(words[n], flat[n].tolist(), fontsize=9, color=colour, xytext=(3, 3), textcoords="offset points")


def directions(space: text.word2vec.WordVectors, words: list[str]) -> torch.Tensor:
    return F.normalize(torch.stack([space[word] for word in words]), dim=1)


# %%
own = {topic: set(world.vocabulary(topic)) for topic in topics}
chosen = {topic: [(a, b) for a, b in dictionary if a in own[topic]][:25] for topic in topics}
ours = directions(ready[0], [a for topic in topics for a, _ in chosen[topic]])
plane = torch.linalg.svd(ours - ours.mean(0))[2][:2].T  # the two directions of most spread (32, 2)
fig, (left, right) = plots.figure(2, width=4.6, height=3.6)
for topic in topics:
    first, second = map(list, zip(*chosen[topic]))
    flat = directions(ready[0], first) @ plane
    named = [int(flat[:, 1].argmax()), int(flat[:, 1].argmin())]
    draw(left, flat, first, topic, named)
    draw(right, directions(ready[1], second) @ fit.rotation @ plane, second, topic, named)
left.set(title="English", xticks=[], yticks=[])
right.set(title="The invented language, turned", xticks=[], yticks=[])
_ = fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)

# %% [markdown]
# Nobody said which topic a word belongs to (the colours are ours), and yet words of a topic lie together, in both
# languages. Only for the turning was something told: the translation of every second word. Since then each topic lies
# in the same direction from the middle. (Two words of each topic are written out, on the right in translation.) So a
# classifier that learned on the left should work on the right, and we shall see how few pairs of words it takes.
#
# ## 1 · A word is known by the company it keeps
#
# *Skip-gram*, the method behind word2vec (Mikolov et al. 2013), makes labels out of plain text: given a word, which
# words stand beside it? Each word in a *window* is a right answer. Here are two texts and what we need of them, words
# in lower case.

# %%
from tlcore.text.word2vec import split_words

print(here.inputs[0], there.inputs[0], split_words(here.inputs[0])[:8], sep="\n")

# %% [markdown]
# ### Exercise 1 · Pairs (2 points)
#
# Return all pairs `(word, neighbour)` in which the neighbour stands at most `window` places to the left or right of the
# word; a word at one place is no neighbour of itself. For `["a", "b", "c"]` and a window of 1 these are `("a", "b")`,
# `("b", "a")`, `("b", "c")` and `("c", "b")`, in any order. Go by places: a pair that comes up twice is returned twice,
# so `["so", "so"]` makes `("so", "so")` twice.


# %% nbgrader={"grade": false, "grade_id": "pairs", "locked": false, "schema_version": 3, "solution": true, "task": false}
def neighbours(words: list[str], window: int) -> list[tuple[str, str]]:
    """Words of one text -> all pairs (word, neighbour)."""
    ### BEGIN SOLUTION
    pairs = []
    for n, word in enumerate(words):
        left, right = words[max(0, n - window) : n], words[n + 1 : n + 1 + window]
        pairs += [(word, other) for other in left + right]
    return pairs
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "pairs-check", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["neighbours"]
from tlcore.grading import Checks

checks = Checks("Exercise 1 · Pairs", forbid=["tlcore.text"], seconds=5)


@checks("the example of the text", points=0.5, hint="The neighbours of b stand on both sides of it.")
def _():
    found = sorted(tuple(pair) for pair in neighbours(["a", "b", "c"], 1))
    wrong = {
        "only neighbours on the right are taken": [("a", "b"), ("b", "c")],
        "only neighbours on the left are taken": [("b", "a"), ("c", "b")],
        "each word is paired with itself, too": sorted(
            [("a", "a"), ("b", "b"), ("c", "c"), ("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")]
        ),
        "at the start of a text, a negative place counts from its end": sorted(
            [("a", "c"), ("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")]
        ),
    }
    checks.equal(found, [("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")], mistakes=wrong)


@checks("a wider window, and a text shorter than it", points=1, hint="All words within reach, none beyond the ends.")
def _():
    words = ["we", "sail", "at", "night", "alone"]
    expected = [(words[i], words[j]) for i in range(5) for j in range(5) if 0 < abs(i - j) <= 2]
    cut = sorted(pair for pair in expected if pair != ("sail", "we"))
    wrong = {"a slice that starts at a negative place counts from the end, and is empty": cut}
    checks.equal(sorted(tuple(pair) for pair in neighbours(list(words), 2)), sorted(expected), mistakes=wrong)
    checks.equal(sorted(tuple(pair) for pair in neighbours(["one", "two"], 9)), [("one", "two"), ("two", "one")])
    checks.equal(len(neighbours(["alone"], 3)), 0)


checks

# %% nbgrader={"grade": true, "grade_id": "pairs-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["neighbours"]
# A text in which words come twice, when your work is graded.
### BEGIN HIDDEN TESTS
from tlcore.grading import Checks

checks = Checks("Exercise 1 · Words that come twice", hidden=True, forbid=["tlcore.text"], seconds=5)


@checks("words that come twice", points=0.5, hint="Go by places, not by words: a word may be its own neighbour's name.")
def _():
    rng = checks.rng()
    words, window = [str(n) for n in rng.integers(4, size=12)], int(rng.integers(2, 5))
    expected = [(words[i], words[j]) for i in range(12) for j in range(12) if 0 < abs(i - j) <= window]
    checks.equal(sorted(tuple(pair) for pair in neighbours(list(words), window)), sorted(expected))


checks
### END HIDDEN TESTS

# %% [markdown]
# Let us count how many labelled examples your function makes of our texts, without anybody labelling them, and look
# at the first.

# %%
from collections import Counter

sentences = {"english": [split_words(t) for t in here.inputs], "invented": [split_words(t) for t in there.inputs]}
counted = {name: Counter(word for words in part for word in words) for name, part in sentences.items()}
made = [pair for words in sentences["english"] for pair in neighbours(words, 3)]
print(f"{len(here)} texts, {sum(counted['english'].values()):,} words, {len(made):,} pairs:", *made[:6])

# %% [markdown]
# ## 2 · Too frequent, and rare enough
#
# Most of these pairs are dull. Whatever word you take, "the" stands near it, so "the" tells little about it. Two
# measures of word2vec concern frequencies. Let $f(w)$ be the share of all words that are $w$.
#
# - **Subsampling.** Before pairs are made, each occurrence of $w$ is *kept* with the probability $\sqrt{t / f(w)}$, or
#   1 if that is larger; $t$ is a small number. What is left moves together, so windows reach further.
# - **Noise.** To learn that a pair is right, one must also see pairs that are wrong. For these, words are drawn at
#   random, with probabilities proportional to their counts to the power of $\tfrac34$: between all alike and by
#   frequency.
#
# ### Exercise 2 · Two ways with frequencies (3 points)
#
# Given how often each word occurs, return the probabilities to keep an occurrence of each, and the probabilities with
# which noise is drawn (they sum to 1). For the counts 81, 16 and 3 (so the shares are 0.81, 0.16 and 0.03) and
# $t = 0.04$ the first is kept with $\sqrt{0.04 / 0.81} \approx 0.22$, the second with 0.5 and the third always; and
# the first two are drawn as noise in the ratio of $27 : 8$.


# %% nbgrader={"grade": false, "grade_id": "frequencies", "locked": false, "schema_version": 3, "solution": true, "task": false}
def keep_probability(counts: torch.Tensor, t: float) -> torch.Tensor:
    """Counts (V,) -> the probability to keep an occurrence of each word (V,)."""
    ### BEGIN SOLUTION
    return (t / (counts / counts.sum())).sqrt().clamp(max=1)
    ### END SOLUTION


def noise_probability(counts: torch.Tensor) -> torch.Tensor:
    """Counts (V,) -> the probability to draw each word as noise (V,)."""
    ### BEGIN SOLUTION
    return counts**0.75 / (counts**0.75).sum()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "frequencies-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["keep_probability", "noise_probability"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 2 · Two ways with frequencies", forbid=["tlcore.text"], seconds=5)
example = torch.tensor([81.0, 16.0, 3.0])
kept = torch.tensor([(0.04 / 0.81) ** 0.5, 0.5, 1.0])


@checks("how many are kept", points=1, hint="t over the share of the word, then the root; a probability is at most 1.")
def _():
    wrong = {
        "this is the probability to leave a word out": 1 - kept,
        "probabilities are at most 1": (0.04 / (example / 100)).sqrt(),
        "the root is missing": (0.04 / (example / 100)).clamp(max=1),
        "f is the share of all words, not the count": (0.04 / example).sqrt().clamp(max=1),
        "share and t are the wrong way round": (example / 100 / 0.04).sqrt().clamp(max=1),
    }
    checks.close(keep_probability(example.clone(), 0.04), kept, rtol=1e-4, mistakes=wrong)


@checks("what is drawn as noise", points=1, hint="Each count to the power of 3/4, over the sum of these.")
def _():
    power = example**0.75
    wrong = {
        "the power of 3/4 is missing": example / 100,
        "they should sum to 1": power,
        "they should sum to 1: divide after the power, by the sum of the powers": (example / 100) ** 0.75,
        "every word is drawn alike": torch.full((3,), 1 / 3),
        "3/4 is a power, not a factor": 0.75 * example / 100,
    }
    checks.close(noise_probability(example.clone()), power / power.sum(), rtol=1e-4, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "frequencies-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["keep_probability", "noise_probability"]
# Random counts, when your work is graded.
### BEGIN HIDDEN TESTS
from tlcore.grading import Checks

checks = Checks("Exercise 2 · Random counts", hidden=True, forbid=["tlcore.text"], seconds=5)


@checks("random counts, word by word", points=1)
def _():
    import torch

    rng = checks.rng()
    counts = [float(n) for n in (rng.integers(1, 5), *rng.integers(50, 500, size=8))]
    total, power = sum(counts), sum(n**0.75 for n in counts)
    t = float(rng.uniform(5, 50)) / total  # the first word is always kept, the others are not
    found = keep_probability(torch.tensor(counts), t)
    checks.close(found, [min(1.0, (t * total / n) ** 0.5) for n in counts], rtol=1e-4)
    checks.close(noise_probability(torch.tensor(counts)), [n**0.75 / power for n in counts], rtol=1e-4)


checks
### END HIDDEN TESTS

# %% [markdown]
# Some words of our texts, from frequent to rare, with your two functions. Words that occur fewer than three times get
# no vector at all.

# %%
import numpy as np


def numbers(answer: object) -> torch.Tensor:
    """Whatever container an answer came in, as a tensor."""
    return torch.as_tensor(np.asarray(answer, dtype=np.float32))


known = {name: [word for word, n in part.most_common() if n > 2] for name, part in counted.items()}
counts = {name: torch.tensor([float(counted[name][word]) for word in known[name]]) for name in known}
keep = {name: numbers(keep_probability(part, 1e-3)) for name, part in counts.items()}
noise = {name: numbers(noise_probability(part)) for name, part in counts.items()}

# %%
rows = []
for place in (0, 2, 10, 100, len(known["english"]) - 1):
    share, drawn = counts["english"][place] / counts["english"].sum(), noise["english"][place]
    rows.append([known["english"][place], *[f"{float(p):.3%}" for p in (share, keep["english"][place], drawn)]])
plots.table(rows, ["word", "share of the text", "kept", "drawn as noise"])

# %% [markdown]
# Of the most frequent word most occurrences are gone, of rare words none ($t$ is 0.001 here). And as noise the rare
# ones come more often than they do in the text, so that for them, too, the loss hears beside which words they do *not*
# stand.
#
# ## 3 · The loss
#
# Every word gets *two* vectors, $v_w$ for when it is given, and $u_w$ for when it is asked for as a neighbour. Their
# product says how well the two go together, and $\sigma(u_c \cdot v_w)$, with $\sigma(x) = 1 / (1 + e^{-x})$, is the
# probability that the model gives to the pair's being real. The loss of a real pair $(w, c)$, with noise words $n_1,
# \dots, n_K$ drawn beside it, is
#
# $$-\log \sigma(u_c \cdot v_w) - \sum_{k=1}^{K} \log \sigma(-u_{n_k} \cdot v_w).$$
#
# This is *negative sampling*: one example of "yes" and $K$ of "no", where a softmax would have to compare with every
# word that there is.
#
# ### Exercise 3 · Skip-gram with negative sampling (4 points)
#
# Return the mean of this loss over $N$ pairs. If all vectors are zero, every product is 0, every probability a half,
# and the loss $(1 + K) \log 2$, whatever $N$. Products can be large: a pair that is badly wrong, with a product of
# $-200$, costs 200, not infinity (`F.logsigmoid` knows how).


# %% nbgrader={"grade": false, "grade_id": "loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def skip_gram_loss(given: torch.Tensor, asked: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """Vectors v of given words (N, E), u of their neighbours (N, E) and u of noise (N, K, E) -> the mean loss ()."""
    ### BEGIN SOLUTION
    right = (asked * given).sum(1)  # (N,)
    wrong = torch.einsum("nke,ne->nk", drawn, given)  # (N, K)
    return -(F.logsigmoid(right) + F.logsigmoid(-wrong).sum(1)).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "loss-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} student_names=["skip_gram_loss"]
import math

import torch

from tlcore.grading import Checks, remote

checks = Checks("Exercise 3 · Skip-gram with negative sampling", forbid=["tlcore.text"], seconds=5)


def slopes(loss, given, asked, drawn):
    import torch

    parts = [part.clone().requires_grad_(True) for part in (given, asked, drawn)]
    value = loss(*parts)
    if value.requires_grad:
        value.backward()
    return value.detach(), [torch.zeros_like(part) if part.grad is None else part.grad for part in parts]


@checks("all vectors zero", points=0.5, hint="(1 + K) log 2, here with K = 3.")
def _():
    value = skip_gram_loss(torch.zeros(5, 4), torch.zeros(5, 4), torch.zeros(5, 3, 4))
    wrong = {
        "losses of the pairs are summed; the mean is wanted": 20 * math.log(2),
        "the mean over the noise words is taken; their sum is wanted": 2 * math.log(2),
        "the sign is turned: a loss is to become small": -4 * math.log(2),
        "the noise is missing, or this is a mean over all products": math.log(2),
    }
    checks.close(value, 4 * math.log(2), mistakes=wrong)


@checks("by hand: one pair, then two", points=1, hint="The first pair has the product 2, its noise has 1 and -3.")
def _():
    given, asked = torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 0.0]])
    drawn = torch.tensor([[[0.0, 1.0], [-3.0, 0.0]]])
    cost = {x: math.log1p(math.exp(x)) for x in (-4, -3, -2, -1, 1, 2, 3, 4, 6)}  # -log s(-x)
    wrong = {
        "the minus within the sigmoid of noise is missing": cost[-2] + cost[-1] + cost[3],
        "real pair and noise have changed places": cost[2] + cost[-1] + cost[3],
        "the mean over the noise words is taken; their sum is wanted": cost[-2] + (cost[1] + cost[-3]) / 2,
        "the noise is missing": cost[-2],
    }
    checks.close(skip_gram_loss(given, asked, drawn), cost[-2] + cost[1] + cost[-3], mistakes=wrong)
    two = torch.cat([given, -given]), torch.cat([asked, 2 * asked]), torch.cat([drawn, 2 * drawn])
    noise = (cost[1] + cost[-3] + cost[-2] + cost[6]) / 2
    mixed = {
        "each word meets its own neighbour only, not those of other pairs": noise
        + (cost[-2] + cost[-4] + cost[2] + cost[4]) / 4,
        "losses of the pairs are summed; the mean is wanted": 2 * noise + cost[-2] + cost[4],
    }
    checks.close(skip_gram_loss(*two), noise + (cost[-2] + cost[4]) / 2, mistakes=mixed)


@checks("where the vectors are pulled", points=1, hint="v moves towards u of the neighbour and away from noise.")
def _():
    given, asked = torch.tensor([[1.0, 0.5]]), torch.tensor([[0.5, -1.0]])
    drawn = torch.tensor([[[1.0, 1.0], [0.0, 2.0]]])
    _, (v, u, n) = remote(slopes, skip_gram_loss, given, asked, drawn)
    miss = 1 / (1 + math.exp(float((asked * given).sum())))  # 1 - s(u v)
    hits = torch.sigmoid(drawn[0] @ given[0])  # s(u_n v)
    wrong = {"nothing is pulled: no gradient comes through": torch.zeros(1, 2)}
    checks.close(v, -miss * asked + (hits[:, None] * drawn[0]).sum(0), rtol=1e-4, mistakes=wrong)
    checks.close(u, -miss * given, rtol=1e-4)
    checks.close(n, (hits[:, None] * given)[None], rtol=1e-4)


@checks(
    "a large product", points=0.5, hint="The logarithm of a sigmoid that is rounded to 0 is infinite: F.logsigmoid."
)
def _():
    value = skip_gram_loss(torch.full((1, 2), 10.0), torch.full((1, 2), -10.0), torch.full((1, 1, 2), 10.0))
    checks.close(value, 400.0, mistakes={"log(sigmoid(x)) has no finite value here": math.inf})


checks

# %% nbgrader={"grade": true, "grade_id": "loss-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["skip_gram_loss"]
# Random vectors, when your work is graded.
### BEGIN HIDDEN TESTS
import math

import torch

from tlcore.grading import Checks

checks = Checks("Exercise 3 · Random vectors", hidden=True, forbid=["tlcore.text"], seconds=5)


@checks("random vectors, pair by pair", points=1, hint="Each given word meets its own noise words only.")
def _():
    rng = checks.rng()
    given, asked, drawn = (rng.normal(size=shape) for shape in ((6, 3), (6, 3), (6, 4, 3)))
    total = 0.0
    for v, u, wrong in zip(given, asked, drawn):
        total += math.log1p(math.exp(-float(u @ v))) + sum(math.log1p(math.exp(float(n @ v))) for n in wrong)
    checks.close(skip_gram_loss(*(torch.tensor(part) for part in (given, asked, drawn))), total / 6)


checks
### END HIDDEN TESTS

# %% [markdown]
# Now your four functions together learn vectors from our texts: pairs of what subsampling leaves, noise beside each,
# and Adam on your loss. In the end we keep $v_w$ as the word's vector, scaled to length 1; $u_w$ has done its work.
# *Nearest* to a word are those whose vectors make the smallest angle with its own.

# %%
from random import Random


def numbered_pairs(name: str, draws: Random) -> torch.Tensor:
    """The pairs of all texts of a language (N, 2), as numbers of words."""
    number, kept = {word: n for n, word in enumerate(known[name])}, keep[name].tolist()
    pairs = []
    for words in sentences[name]:
        left = [word for word in words if word in number and draws.random() < kept[number[word]]]
        pairs += [(number[a], number[b]) for a, b in neighbours(left, 3)]
    return torch.tensor(pairs)


# %%
def epoch(pairs: torch.Tensor, drawn: torch.Tensor, v: torch.Tensor, u: torch.Tensor, optimizer: object) -> None:
    """Once through all pairs (N, 2), each beside its words of noise (N, K)."""
    for rows in torch.randperm(len(pairs)).split(1024):
        given, asked = pairs[rows].T
        loss = skip_gram_loss(v[given], u[asked], u[drawn[rows]])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


# %%
from tlcore.text.word2vec import WordVectors


def learn(name: str, epochs: int) -> WordVectors:
    draws, size = Random(0), len(known[name])
    v, u = ((torch.rand(size, 32) - 0.5) / 32).requires_grad_(), torch.zeros(size, 32, requires_grad=True)
    optimizer = torch.optim.Adam([v, u], lr=0.02)
    for _ in range(epochs):
        pairs = numbered_pairs(name, draws)
        drawn = torch.multinomial(noise[name], 5 * len(pairs), replacement=True).view(-1, 5)
        epoch(pairs, drawn, v, u, optimizer)
    return WordVectors(tuple(known[name]), F.normalize(v.detach(), dim=1), counts[name])


# %% [markdown]
# Guess before you look: which word will lie nearest to "good"?

# %%
my_nearest = None  # a word

# %%
_ = runtime.seed_everything(0)
epochs = runtime.scaled(quick=3, standard=5, full=5)
english = learn("english", epochs)
asked = [word for word in ("sailor", "onion", "song", "nurse", "good") if word in english]
print("your guess:", my_nearest)
plots.table([[word, ", ".join(near.word for near in english.nearest(word, 5))] for word in asked], ["word", "nearest"])

# %% [markdown]
# Things of one kind lie together: who says "onion" could as well have said its neighbours. But look at the last row.
# Among the words nearest to "good" are words of the *opposite* opinion, because one says of the same things, in the
# same sentences, that they are good or that they are bad. What keeps the same company gets the same vector. Remember
# it: it decides which tasks these vectors can serve.
#
# > **The other half of word2vec.** *CBOW* asks the opposite question: given the *mean* of the neighbours' vectors,
# > which word stands between them? The loss is yours, with that mean in the place of $v_w$
# > (`train_word2vec(mode="cbow")` in `tlcore.text.word2vec`).
#
# ## 4 · Word vectors as a first layer
#
# "Using word2vec as pre-trained embedding" is the first line of the lecture's slide on networks that are not about
# pictures. The first layer of a text classifier is a table with a row for every word of its task. Usually it starts at
# random and learns from labels. We fill it with vectors instead.
#
# ### Exercise 4 · Fill the table (3 points)
#
# For each word of a task return its row: the vector of this word, scaled to length 1, or zeros if there is none.
# `numbers` says in which row of `vectors` a word stands. With `words = ["oar", "zebra"]`, `numbers = {"net": 0, "oar":
# 1}` and vectors `[[1, 0], [3, 4]]` the table is `[[0.6, 0.8], [0, 0]]`. Leave `vectors` themselves unchanged.


# %% nbgrader={"grade": false, "grade_id": "table", "locked": false, "schema_version": 3, "solution": true, "task": false}
def first_layer(words: list[str], numbers: dict[str, int], vectors: torch.Tensor) -> torch.Tensor:
    """Words of a task (V of them), and vectors (M, E) with the rows' numbers -> the first layer (V, E)."""
    ### BEGIN SOLUTION
    table = torch.zeros(len(words), vectors.shape[1], dtype=vectors.dtype)
    for row, word in enumerate(words):
        if word in numbers:
            vector = vectors[numbers[word]]
            table[row] = vector / vector.norm()
    return table
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "table-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["first_layer"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 4 · Fill the table", forbid=["tlcore.text"], seconds=5)


@checks("the example of the text", points=1, hint="One row for each word of the task, in the task's order.")
def _():
    wrong = {
        "the vector is not scaled to length 1": [[3.0, 4.0], [0.0, 0.0]],
        "a word without a vector gets another word's": [[0.6, 0.8], [1.0, 0.0]],
        "a word without a vector gets the last one: -1 is a row, too": [[0.6, 0.8], [0.6, 0.8]],
        "a word without a vector still needs its row": [[0.6, 0.8]],
        "zeros divided by their length, 0, are not a number": [[0.6, 0.8], [float("nan")] * 2],
        "the rows are those of the vectors; the task has an order of its own": [[1.0, 0.0], [0.6, 0.8]],
    }
    found = first_layer(["oar", "zebra"], {"net": 0, "oar": 1}, torch.tensor([[1.0, 0.0], [3.0, 4.0]]))
    checks.close(found, [[0.6, 0.8], [0.0, 0.0]], mistakes=wrong)


@checks("in the order of the task", points=1)
def _():
    vectors = torch.tensor([[2.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 3.0, 4.0]])
    found = first_layer(["c", "x", "a", "y", "b"], {"a": 0, "b": 1, "c": 2}, vectors)
    checks.close(found, [[0, 0.6, 0.8], [0] * 3, [1, 0, 0], [0] * 3, [0, 1, 0]])


checks

# %% nbgrader={"grade": true, "grade_id": "table-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["first_layer"]
# Random vectors, and what you were given, when your work is graded.
### BEGIN HIDDEN TESTS
import torch

from tlcore.grading import Checks, remote

checks = Checks("Exercise 4 · Random vectors", hidden=True, forbid=["tlcore.text"], seconds=5)


def both(function, words, numbers, vectors):
    table = function(words, numbers, vectors)
    return table, vectors


@checks("random vectors, which stay as they are", points=1, hint="Scale copies: the vectors still belong to others.")
def _():
    rng = checks.rng()
    vectors = torch.tensor(rng.normal(size=(7, 4)), dtype=torch.float32)
    numbers = {f"w{n}": int(row) for n, row in enumerate(rng.permutation(7))}
    words = [f"w{n}" for n in rng.permutation(10)]
    table, after = remote(both, first_layer, words, numbers, vectors.clone())
    rows = [vectors[numbers[word]] if word in numbers else torch.zeros(4) for word in words]
    checks.close(table, [(row / max(float(row.norm()), 1e-9)).tolist() for row in rows], atol=1e-5)
    checks.close(after, vectors)


checks
### END HIDDEN TESTS

# %% [markdown]
# The task: to tell the topic of *one* sentence. Our texts so far were plain, formal or casual (three *registers*, ways
# to speak); these sentences are all casual, and full of regional words, many of which have no vector. The network is
# shallow: the mean of its words' rows, and a linear layer. It can start from a random table, or from yours, which
# either stays *frozen* or learns along, as fast as the linear layer.
#
# The same slide ends with "pre-training simple shallow networks on similar domains". We add this as the fourth start:
# the same network, after it was trained with many labels on *formal* sentences without regional words. On our few
# sentences its table moves slowly, at a 25th of the head's learning rate.

# %%
from torch import nn

task = worlds.Language(topics=topics, registers=("casual",), dialect=0.5, sentences=1)
pool, test = task.sample(1000, seed=11), task.sample(runtime.scaled(quick=500, standard=1000, full=4000), seed=12)
formal = task.but(registers=("formal",), dialect=0.0).sample(2000, seed=13)
words = sorted({word for part in (pool, test, formal) for line in part.inputs for word in split_words(line)})
row_of = {word: row for row, word in enumerate(words)}
table = numbers(first_layer(words, english.numbers, english.vectors))
print(pool.inputs[0], pool.inputs[1], f"{len(words)} words, {int((table == 0).all(1).sum())} without vector", sep="\n")


# %%
def bags(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of all words of all texts, and where each text begins."""
    rows = [[row_of[word] for word in split_words(line)] for line in texts]
    starts = np.cumsum([0, *map(len, rows)])[:-1]
    return torch.tensor([row for line in rows for row in line]), torch.tensor(starts)


def outputs(table: torch.Tensor, head: nn.Linear, texts: tuple) -> torch.Tensor:
    return head(F.embedding_bag(texts[0], table, texts[1], mode="mean"))


# %%
def train(table: torch.Tensor, head: nn.Linear, data: worlds.Dataset, lr: float) -> tuple:
    """Train copies of table and head; the table with a learning rate of its own, 0 for frozen."""
    table, copy, texts = table.clone().requires_grad_(), nn.Linear(32, head.out_features), bags(data.inputs)
    copy.load_state_dict(head.state_dict())
    optimizer = torch.optim.Adam([{"params": [table], "lr": lr}, {"params": copy.parameters()}], lr=0.05)
    for _ in range(runtime.scaled(quick=60, standard=150, full=150)):
        loss = F.cross_entropy(outputs(table, copy, texts), data.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return table.detach(), copy


# %% [markdown]
# Guess: with five labelled sentences of each topic, what share of new sentences will be right with a random table, and
# what with your frozen one? Guessing blindly gives 25 %.

# %%
my_few = None  # two shares, such as (0.4, 0.6)

# %%
_ = runtime.seed_everything(1)
fresh = nn.Linear(32, 4)
random_table = F.normalize(torch.randn(len(words), 32), dim=1)
before = train(random_table, fresh, formal, 0.02)
starts = {
    "random, learns": (random_table, fresh, 0.05),
    "word2vec, learns fast": (table, fresh, 0.05),
    "word2vec, frozen": (table, fresh, 0.0),
    "trained on formal texts": (*before, 0.002),
}

# %%
labels, draws = (2, 5, 20, 100), runtime.scaled(quick=2, standard=3, full=10)
texts = bags(test.inputs)
curve = {name: [] for name in starts}
for per_class in labels:
    few = [pool.subset(per_class=per_class, seed=10 * draw) for draw in range(draws)]
    for name, start in starts.items():
        learned = [train(start[0], start[1], data, start[2]) for data in few]
        right = [(outputs(*one, texts).argmax(1) == test.targets).float().mean() for one in learned]
        curve[name].append(float(torch.stack(right).mean()))

# %%
fig, (ax,) = plots.figure(1, width=5, height=3.2)
for name, shares in curve.items():
    ax.plot(labels, shares, marker="o", label=name)
ax.axhline(0.25, color="0.7", linewidth=1)
ax.set(xscale="log", xticks=labels, xticklabels=labels, xlabel="labelled sentences per topic")
ax.set(ylabel="share right", title="grey: guessing blindly")
ax.legend(fontsize=8)
ax.minorticks_off()
print(f"five labels: random {curve['random, learns'][1]:.0%}, frozen {curve['word2vec, frozen'][1]:.0%}; you:", my_few)

# %% [markdown]
# With few labels the frozen table is far ahead, for a simple reason. A random table must learn each word from labels,
# so it knows only words that stood in the few sentences; your table puts words of one kind in one place, so what is
# learned about one holds for the others.
#
# Now compare the two lines of word2vec. Let the table learn as fast as the head, and nearly all of its lead is gone:
# the few words with labels run away from the neighbours that would have learned from them. This is Lesson 06 over
# again, on words: **a pre-trained part is frozen, or moved slowly.**
#
# The network that already knew the task from formal texts is best, and hardly needs labels. But it was given two
# thousand labels *of this very task*, where word2vec had none. What if the task is another one? Whether the sentence is
# content or not, for instance. Guess: what share will be right with the frozen table and 100 labels of each kind, where
# a coin would get half?

# %%
my_opinion = None  # a share

# %%
opinion, opinion_test = (part.labelled_by("sentiment", ("negative", "positive")) for part in (pool, test))
two, shares = nn.Linear(32, 2), {}
for name in ("random, learns", "word2vec, frozen"):
    learned = train(starts[name][0], two, opinion.subset(per_class=100), starts[name][2])
    shares[name] = float((outputs(*learned, texts).argmax(1) == opinion_test.targets).float().mean())
print("your guess:", my_opinion)
plots.table([[name, f"{curve[name][-1]:.0%}", f"{shares[name]:.0%}"] for name in shares], ["table", "topic", "opinion"])

# %% [markdown]
# For opinions the frozen vectors are little better than a coin, and *worse* than a table that starts at random and
# learns. The table of nearest words has told us why: good and bad lie in one place. Text without labels teaches what
# its own question asks for, and here it asked who keeps company with whom. (And a mean of words cannot read "not bad"
# anyhow. We come back to it.)
#
# ## 5 · Another language
#
# The lecture has a slide on feature spaces that differ, $\mathcal{X}_S \ne \mathcal{X}_T$, and its case is a document
# in one language and another in a second one. Its name for the remedy, *cross-lingual adaptation*, also stands among
# its applications: few-shot learning for languages poor in resources.
#
# > **Phonemes.** The lecture asks in the same breath whether weights that tell *phonemes* apart serve a target
# > "written in another language". Phonemes are sounds of speech, and documents are made of words. Either can be
# > carried to another language; here it is documents.
#
# The plan: learn vectors for each language from its own texts. Each space has arbitrary axes, but if words relate to
# each other alike in both, there is a *rotation* that lays one onto the other. A few known pairs of words are enough to
# find it.
#
# We look for the orthogonal matrix $W$ ($W^\top W = I$: lengths and angles stay) that makes $\lVert A W - B \rVert$
# smallest, where a row of $A$ and the same row of $B$ belong to one pair. This is the *orthogonal Procrustes problem*,
# and its solution (Schönemann 1966) is short: with the singular value decomposition $A^\top B = U S V^\top$ it is $W =
# U V^\top$ ($U$ and $V$ are orthogonal, $S$ is diagonal; Lesson 02 took kernels apart with it).
#
# ### Exercise 5 · The rotation (4 points)
#
# Return $W$. Mirror images are welcome, since they are orthogonal, too. Mind what `torch.linalg.svd` returns third:
# $V^\top$, not $V$. For $A = ((1, 0), (0, 2))$ and $B = ((0, 1), (-2, 0))$, where each row is turned by a quarter,
# $W = ((0, 1), (-1, 0))$.


# %% nbgrader={"grade": false, "grade_id": "rotation", "locked": false, "schema_version": 3, "solution": true, "task": false}
def rotation(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Rows of pairs (N, E) and (N, E) -> the orthogonal W (E, E) that brings source @ W closest to target."""
    ### BEGIN SOLUTION
    u, _, vt = torch.linalg.svd(source.T @ target)
    return u @ vt
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "rotation-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} student_names=["rotation"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 5 · The rotation", forbid=["tlcore.text", "scipy.linalg.orthogonal_procrustes"], seconds=5)
quarter = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])


@checks("a quarter turn", points=1, hint="source @ W is to be target, row by row.")
def _():
    source = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    wrong = {"this turns the target into the source": quarter.T, "nothing is turned": torch.eye(2)}
    checks.close(rotation(source, source @ quarter), quarter, atol=1e-5, mistakes=wrong)


@checks("with noise it is still orthogonal", points=1, hint="The singular values S are left out: W is U V'.")
def _():
    generator = torch.Generator().manual_seed(4)
    source = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    skew = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    turn = torch.linalg.matrix_exp(skew - skew.T)  # no mirror image
    target = source @ turn + 0.3 * torch.randn(30, 5, generator=generator, dtype=torch.float64)
    u, _, vt = torch.linalg.svd(source.T @ target)
    wrong = {
        "this is the best of all matrices; an orthogonal one is wanted": torch.linalg.lstsq(source, target).solution,
        "the third part that svd returns is already V'": u @ vt.T,
        "this turns the target into the source": vt.T @ u.T,
        "the singular values are still in it; leave S out": source.T @ target,
    }
    checks.close(rotation(source.clone(), target.clone()), u @ vt, rtol=1e-4, atol=1e-4, mistakes=wrong)


@checks("a mirror image", points=1, hint="A mirror image has the determinant -1, and is orthogonal all the same.")
def _():
    source = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0], [1.0, 1.0, 1.0]])
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    checks.close(rotation(source, source @ mirror), mirror, atol=1e-4)


checks

# %% nbgrader={"grade": true, "grade_id": "rotation-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["rotation"]
# Random pairs, when your work is graded.
### BEGIN HIDDEN TESTS
import torch

from tlcore.grading import Checks

checks = Checks(
    "Exercise 5 · Random pairs", hidden=True, forbid=["tlcore.text", "scipy.linalg.orthogonal_procrustes"], seconds=5
)


@checks("no other orthogonal matrix comes closer", points=1, hint="W = U V' from the decomposition of source' target.")
def _():
    rng = checks.rng()
    source, target = (torch.tensor(rng.normal(size=(25, 4))) for _ in range(2))
    u, _, vt = torch.linalg.svd(source.T @ target)
    if torch.det(u @ vt) > 0:  # the best one shall be a mirror image
        target[:, 0] *= -1
    found = torch.tensor([[float(x) for x in row] for row in rotation(source.clone(), target.clone())]).double()
    checks.close(found.T @ found, torch.eye(4), atol=1e-4)
    best = float((source @ found - target).norm())
    for _ in range(30):  # small turns away from it
        skew = torch.tensor(rng.normal(size=(4, 4))) * 0.05
        other = found @ torch.linalg.matrix_exp(skew - skew.T)
        assert float((source @ other - target).norm()) > best - 1e-4
    u, _, vt = torch.linalg.svd(source.T @ target)
    checks.close(found, u @ vt, rtol=1e-4, atol=1e-4)


checks
### END HIDDEN TESTS

# %% [markdown]
# Vectors for the invented language, from texts of its own (they are no translations of the English ones). Both
# languages learn with your functions. First, do the spaces really have nothing in common?

# %%
invented = learn("invented", epochs)
shared = set(english.words) & set(invented.words)
pairs = [(b, a) for a, b in world.dictionary().items() if a in english and b in invented]
Random(3).shuffle(pairs)
hidden, given = pairs[:200], pairs[200:]
print(f"{len(english)} and {len(invented)} words, {len(shared)} in common; {len(given)} pairs to learn from")

# %% [markdown]
# Then the task: the topic of one sentence. A classifier learns from English sentences with labels, each the mean of its
# words' vectors, and is given sentences of the invented language, whose means are multiplied by $W$. Beside your
# rotation stands the best of *all* matrices, by least squares. We also hold 200 pairs of words back, and count in how
# many of them the true translation is among the ten words nearest to the turned vector (the left panel below; the right
# one is the task). How many pairs of words will be needed, until nine in ten of the foreign sentences are put into the
# right topic? There are 32 numbers in a vector.

# %%
my_pairs = None  # a number

# %%
from sklearn.linear_model import LogisticRegression

one = world.but(sentences=1)
size = runtime.scaled(quick=500, standard=1000, full=4000)
home, home_test = one.sample(size, seed=21), one.sample(size, seed=22)
away = one.but(language="invented").sample(size, seed=23)
classifier = LogisticRegression(C=10, max_iter=1000).fit(english.mean(home.inputs), home.targets)
foreign = invented.mean(away.inputs)  # (N, 32)
at_home = classifier.score(english.mean(home_test.inputs), home_test.targets)
unturned = classifier.score(foreign, away.targets)


# %%
def side(pairs: list, space: WordVectors, which: int) -> torch.Tensor:
    """One side of pairs of words, as vectors (N, 32)."""
    return torch.stack([space[pair[which]] for pair in pairs])


def found_among_ten(w: torch.Tensor) -> float:
    """The share of hidden pairs in which the true translation is among the ten nearest words."""
    near = [english.nearest(invented[b] @ w, 10) for b, _ in hidden]
    return sum(a in [n.word for n in nearby] for (_, a), nearby in zip(hidden, near)) / len(hidden)


# %%
many = [10, 20, 30, 50, 100, 200, len(given)]
results = {"your rotation": [], "any matrix": []}
for count in many:
    a, b = side(given[:count], invented, 0), side(given[:count], english, 1)
    free = torch.linalg.lstsq(a, b, driver="gelsd").solution
    for name, w in (("your rotation", numbers(rotation(a, b))), ("any matrix", free)):
        results[name].append((found_among_ten(w), classifier.score(foreign @ w, away.targets)))
turn = numbers(rotation(side(given, invented, 0), side(given, english, 1)))

# %%
fig, axes = plots.figure(2, width=4, height=3)
for column, (ax, title) in enumerate(zip(axes, ("translation among ten", "topic of a foreign sentence"))):
    for name, found in results.items():
        ax.plot(many, [shares[column] for shares in found], marker="o", label=name)
    ax.set(xscale="log", xticks=many[::2], xticklabels=many[::2], xlabel="known pairs of words", title=title)
    ax.minorticks_off()
axes[0].set_ylabel("share right")
axes[1].axhline(at_home, color="0.4", linewidth=1, label="English sentences")
axes[1].axhline(unturned, color="0.7", linewidth=1, linestyle=":", label="not turned")
axes[1].legend(fontsize=8)
enough = next((n for n, (_, share) in zip(many, results["your rotation"]) if share > 0.9), "more")
print(f"nine in ten at {enough} pairs; you guessed", my_pairs)

# %% [markdown]
# Without a map the classifier is lost: the axes of the two spaces have nothing to do with each other. A few dozen
# pairs are enough to put most sentences into the right topic, and with all of them little is lost in the
# crossing. **No sentence of the invented language had a label.**
#
# From some dozens of pairs on, the rotation does better than the free matrix that was fitted to the same pairs. The
# free one can go through any 32 pairs exactly and so learns their noise by heart: at about as many pairs as dimensions
# it even falls back. Less freedom, less overfitting.
#
# To find the very translation of a word is harder. Synonyms and plural forms, which a topic does not mind, lie next to
# each other. And it could not work at all were words not used alike in both languages: where people speak of other
# things, the spaces have different shapes.
#
# Now the lecture's scenario: a language poor in resources, with a *few* labels. Compare a classifier that has only
# those with one that has the English sentences, too. For the latter, thirty pairs of words are known.

# %%
rough = numbers(rotation(side(given[:30], invented, 0), side(given[:30], english, 1)))
pool_away = one.but(language="invented").sample(400, seed=24)
few_labels = [["0", "–", f"{classifier.score(foreign @ rough, away.targets):.0%}"]]
for per_class in (1, 5, 20):
    alone, joined = [], []
    for draw in range(5):
        few = pool_away.subset(per_class=per_class, seed=10 * draw)
        x, y = invented.mean(few.inputs) @ rough, few.targets
        both = torch.cat([english.mean(home.inputs), x]), torch.cat([home.targets, y])
        alone.append(LogisticRegression(C=10, max_iter=1000).fit(x, y).score(foreign @ rough, away.targets))
        joined.append(LogisticRegression(C=10, max_iter=1000).fit(*both).score(foreign @ rough, away.targets))
    few_labels.append([str(per_class), f"{np.mean(alone):.0%}", f"{np.mean(joined):.0%}"])
plots.table(few_labels, ["labels per topic", "these alone", "with English ones"])

# %% [markdown]
# Without a single label of its own the classifier with English behind it does better than the other one with one
# label per topic. But with twenty the order has turned: English sentences seen through a rough map are worth less than
# sentences of one's own, and there are many more of them, so they hold the classifier back. It is Lesson 07's rule,
# that transfer pays while labels are few. (A better map, from more pairs, would push that point further away.)
#
# ## 6 · Sentences
#
# A mean of words forgets their order. *Skip-thought* (Kiros et al. 2015) asks skip-gram's question of whole sentences:
# given a sentence, **write** the one before it and the one after. An *encoder* reads the sentence into one vector, two
# *decoders* must write from it. What is needed for that has to be in the vector, and no label was asked for.
#
# We need texts in which order matters. Here are some of three sentences about a bird and a beast, one of which chases,
# follows or scares the other. Who does and who suffers is told by order and by "was … by" together.

# %%
birds, beasts = ["hen", "crow", "gull", "duck", "owl", "robin"], ["cat", "dog", "fox", "goat", "hare", "pig"]


def deed(animal: str, draws: Random) -> str:
    does = ("flew", "flapped", "perched") if animal in birds else ("ran", "crept", "trotted")
    return f"the {animal} {draws.choice(does)} {draws.choice(('home', 'away', 'nearby'))}"


def story(draws: Random) -> tuple[list[str], int]:
    """Three sentences, and whether it is the bird who acts in the middle one."""
    bird, beast, acts = draws.choice(birds), draws.choice(beasts), int(draws.random() < 0.5)
    who, whom = (bird, beast) if acts else (beast, bird)
    verb = draws.choice(("chased", "followed", "scared", "caught", "watched"))
    middle = f"the {who} {verb} the {whom}" if draws.random() < 0.5 else f"the {whom} was {verb} by the {who}"
    return [deed(who, draws), middle, deed(whom, draws)], acts


# %%
draws = Random(5)
stories = [story(draws) for _ in range(runtime.scaled(quick=900, standard=3000, full=10000))]
vocabulary = ["", "<bos>", *sorted({word for lines, _ in stories for line in lines for word in line.split()})]


def tokens(lines: list[str]) -> torch.Tensor:
    """Sentences -> numbers of words (N, T), <bos> (1) first, filled up with 0."""
    rows = [torch.tensor([1, *[vocabulary.index(word) for word in line.split()]]) for line in lines]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)


print(*stories[0][0], *stories[1][0], sep="\n")
tokens(stories[0][0])

# %% [markdown]
# ### Exercise 6 · The vector of a sentence (2 points)
#
# A *token* is here a word, or `<bos>`, a mark for the beginning of a sentence. A *recurrent* network reads one token
# after the other. It keeps a vector, its *state*, and makes the next state from the old one and the token that it
# reads. (A *GRU* is a recurrent layer that also learns how much of the old state to keep.) So there is a state after
# every token, also after those that only fill up. The sentence's vector is the state after its *last real token*; 0
# stands for no token, and it comes only at the end. In the tensor above, the first and the last sentence are shorter
# than the second one, so the last column is right for the second only.


# %% nbgrader={"grade": false, "grade_id": "state", "locked": false, "schema_version": 3, "solution": true, "task": false}
def last_state(states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """States (N, T, H) after each of the tokens (N, T), 0 where there is none -> vectors (N, H)."""
    ### BEGIN SOLUTION
    last = (tokens != 0).sum(1) - 1  # (N,)
    return states[torch.arange(len(states)), last]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "state-check", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["last_state"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 6 · The vector of a sentence", forbid=["tlcore.text"], seconds=5)


@checks(
    "short and long sentences", points=1.5, hint="Count the tokens that are not 0; the last of n has the number n-1."
)
def _():
    states = torch.arange(24.0).view(3, 4, 2)
    read = torch.tensor([[1, 7, 0, 0], [1, 5, 6, 9], [1, 4, 8, 0]])
    wrong = {
        "this is the state after the filling": states[:, -1],
        "this is one state too far": states[[0, 1, 2], [2, 3, 3]],
        "this is the first state": states[:, 0],
        "this is the mean over all states": states.mean(1),
        "this is the mean over the real states": torch.stack(
            [states[0, :2].mean(0), states[1].mean(0), states[2, :3].mean(0)]
        ),
    }
    checks.close(last_state(states.clone(), read), states[[0, 1, 2], [1, 3, 2]], mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "state-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["last_state"]
# Random lengths, when your work is graded.
### BEGIN HIDDEN TESTS
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 6 · Random lengths", hidden=True, forbid=["tlcore.text"], seconds=5)


@checks("random lengths", points=0.5)
def _():
    rng = checks.rng()
    states, lengths = rng.normal(size=(8, 6, 3)), [1, 6, *(int(n) for n in rng.integers(1, 7, size=6))]
    read = [[1, *rng.integers(2, 50, size=n - 1).tolist(), *[0] * (6 - n)] for n in lengths]
    expected = [states[row, length - 1].tolist() for row, length in enumerate(lengths)]
    checks.close(last_state(torch.tensor(states), torch.tensor(read)), expected)


checks
### END HIDDEN TESTS

# %% [markdown]
# ### Exercise 7 · Writing (2 points)
#
# A decoder reads the sentence that it should write, one token at a time, and after each says by `logits` which token
# it expects *next*. Return the mean cross-entropy over all tokens asked for, in the whole batch: the second of each
# sentence, the third, and so on, but no filling. Nothing is asked after the last column.
#
# In loops: for each sentence `n` and place `t`, if `tokens[n, t + 1]` is not 0, the loss is
# `F.cross_entropy(logits[n, t], tokens[n, t + 1])`; return the mean of these.


# %% nbgrader={"grade": false, "grade_id": "writing", "locked": false, "schema_version": 3, "solution": true, "task": false}
def writing_loss(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Logits (N, T, V) after each of the tokens (N, T), 0 where there is none -> the mean loss ()."""
    ### BEGIN SOLUTION
    expected, asked = logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
    return F.cross_entropy(expected, asked, ignore_index=0)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "writing-check", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["writing_loss"]
import torch
from torch.nn import functional as F

from tlcore.grading import Checks

checks = Checks("Exercise 7 · Writing", forbid=["tlcore.text"], seconds=5)


@checks("token by token", points=1.5, hint="What comes after the token t is asked of the logits at t.")
def _():
    logits = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(3))
    read = torch.tensor([[1, 4, 0, 0], [1, 5, 2, 3]])
    all_asked = [F.cross_entropy(logits[n, t], read[n, t + 1]) for n in range(2) for t in range(3)]
    losses = [all_asked[0], *all_asked[3:]]
    rows = torch.stack([losses[0], torch.stack(losses[1:]).mean()])
    wrong = {
        "each token is asked of the logits that have read it": F.cross_entropy(
            logits.flatten(0, 1), read.flatten(), ignore_index=0
        ),
        "the filling is asked, too": torch.stack(all_asked).mean(),
        "a mean for each sentence, then of these: all tokens should count alike": rows.mean(),
        "the losses are summed": torch.stack(losses).sum(),
        "the token before is asked for": F.cross_entropy(
            logits[:, 1:].flatten(0, 1), read[:, :-1].flatten(), ignore_index=0
        ),
    }
    checks.close(writing_loss(logits.clone(), read), torch.stack(losses).mean(), mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "writing-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["writing_loss"]
# Its gradient, when your work is graded.
### BEGIN HIDDEN TESTS
import torch

from tlcore.grading import Checks, remote

checks = Checks("Exercise 7 · Its gradient", hidden=True, forbid=["tlcore.text"], seconds=5)


def slope(loss, logits, read):
    import torch

    logits = logits.clone().requires_grad_(True)
    value = loss(logits, read)
    if value.requires_grad:
        value.backward()
    return torch.zeros_like(logits) if logits.grad is None else logits.grad


@checks("the gradient is softmax minus one-hot, where a token is asked", points=0.5)
def _():
    rng = checks.rng()
    logits = torch.tensor(rng.normal(size=(3, 5, 7)))
    lengths = [2, 5, int(rng.integers(2, 6))]
    read = torch.tensor([[1, *rng.integers(2, 7, size=n - 1).tolist(), *[0] * (5 - n)] for n in lengths])
    expected = torch.zeros_like(logits)
    for n, length in enumerate(lengths):
        for t in range(length - 1):
            expected[n, t] = logits[n, t].softmax(0)
            expected[n, t, read[n, t + 1]] -= 1
    checks.close(remote(slope, writing_loss, logits, read), expected / sum(n - 1 for n in lengths), rtol=1e-4)


checks
### END HIDDEN TESTS


# %% [markdown]
# The network is made of your two functions and three GRUs, as the paper has it: the sentence's vector goes to the
# decoders together with every token.


# %%
class Encoder(nn.Module):
    """Sentences (N, T) -> vectors (N, H)."""

    def __init__(self, words: int, width: int = 16, hidden: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.gru = nn.GRU(width, hidden, batch_first=True)

    def forward(self, read: torch.Tensor) -> torch.Tensor:
        return last_state(self.gru(self.embedding(read))[0], read)


# %%
class Decoder(nn.Module):
    """Writes a sentence (N, T), given the vector (N, H) of its neighbour."""

    def __init__(self, words: int, width: int = 16, hidden: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.gru = nn.GRU(width + hidden, hidden, batch_first=True)
        self.out = nn.Linear(hidden, words)

    def forward(self, vector: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        steps = vector[:, None].expand(-1, read.shape[1], -1)
        return self.out(self.gru(torch.cat([self.embedding(read), steps], 2))[0])


# %% [markdown]
# The task will be to say of a middle sentence *who acts*, the bird or the beast, from 30 labelled sentences. Three
# kinds of vectors compete, all frozen: the mean of the encoder's own word vectors, the encoder before any training (a
# recurrent network with random weights knows something of order, too), and the encoder after it has learnt to write
# the neighbours. Guess all three; a coin gets half.

# %%
my_three = None  # such as (0.6, 0.7, 0.8)

# %%
_ = runtime.seed_everything(4)
encoder, decoders = Encoder(len(vocabulary)), nn.ModuleList(Decoder(len(vocabulary)) for _ in range(2))
before, middle, after = (tokens([lines[n] for lines, _ in stories]) for n in range(3))
untrained = Encoder(len(vocabulary))
_ = untrained.load_state_dict(encoder.state_dict())

# %%
optimizer = torch.optim.Adam([*encoder.parameters(), *decoders.parameters()], lr=0.02)
for _ in range(runtime.scaled(quick=8, standard=10, full=10)):
    for rows in torch.randperm(len(middle)).split(32):
        vector = encoder(middle[rows])
        losses = [writing_loss(d(vector, part[rows]), part[rows]) for d, part in zip(decoders, (before, after))]
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()

# %%
fresh_draws = Random(6)
new = [story(fresh_draws) for _ in range(1000)]
read, acts = tokens([lines[1] for lines, _ in new]), torch.tensor([bird for _, bird in new])
with torch.no_grad():
    mask = (read != 0)[:, :, None]
    mean = (encoder.embedding(read) * mask).sum(1) / mask.sum(1)
    vectors = {"mean of words": mean, "encoder, untrained": untrained(read), "encoder, trained": encoder(read)}


# %%
def with_few(x: torch.Tensor, labels: int, draws: int = 5) -> float:
    """Accuracy on the last half, for heads that had so many labels of the first half; the mean over draws."""
    parts = torch.arange(500).split(labels)[:draws]
    heads = [LogisticRegression(C=10, max_iter=2000).fit(x[rows], acts[rows]) for rows in parts]
    return float(np.mean([head.score(x[500:], acts[500:]) for head in heads]))


# %%
who = {name: [with_few(x, labels) for labels in (10, 30, 100)] for name, x in vectors.items()}
print("your guess, at 30 labels:", my_three)
plots.table(
    [[name, *[f"{share:.0%}" for share in shares]] for name, shares in who.items()], ["", "10 labels", "30", "100"]
)

# %% [markdown]
# A mean of words is a coin, and must be: "the owl chased the cat" and "the cat chased the owl" have one and the same
# mean. The untrained encoder is no better off, for order alone does not tell who acts; "was … by" turns it round. The
# trained encoder keeps it, because whoever is to write what each of the two did must know which is which. Its vectors
# were not made for our question, so the head needs some labels to find the answer in them; the more, the better.
#
# The lecture calls skip-thought a pre-trained *encoder-decoder*. For another task one keeps the encoder and throws the
# decoders away, but before we do, let them write.


# %%
@torch.no_grad()
def write(decoder: Decoder, line: str, length: int = 4) -> str:
    """The words that the decoder finds most probable, one after the other."""
    vector, written = encoder(tokens([line])), [1]
    for _ in range(length):
        written.append(int(decoder(vector, torch.tensor([written]))[0, -1].argmax()))
    return " ".join(vocabulary[n] for n in written[1:])


said = ("the owl chased the cat", "the cat chased the owl", "the owl was chased by the cat")
plots.table([[write(decoders[0], line), line, write(decoders[1], line)] for line in said], ["before", "read", "after"])

# %% [markdown]
# What the one who acts did comes before, what the other did after, also in the sentence with "was … by". Birds fly and
# beasts run. (Should an animal in your run be mistaken for another of its kind, then the vector keeps its kind better
# than its name, and our question needs no more.)
#
# ## What we saw
#
# The numbers below come from your run.

# %%
after_30 = classifier.score(foreign @ rough, away.targets)
crossed = (unturned, after_30, classifier.score(foreign @ turn, away.targets))


def together(shares: list | tuple) -> str:
    return " / ".join(f"{share:.0%}" for share in shares)


three = [shares[1] for shares in list(curve.values())[:3]]

# %%
plots.table(
    [
        ["nearest to good", ", ".join(near.word for near in english.nearest("good", 3))],
        ["topic, 5 labels: random / word2vec fast / frozen", together(three)],
        ["the same network, trained on formal texts", f"{curve['trained on formal texts'][1]:.0%}"],
        ["opinion, 100 labels: random / frozen", together(list(shares.values()))],
        ["foreign topic: not turned / 30 pairs / all pairs", together(crossed)],
        ["who acts, 30 labels: words / untrained / trained", together([s[1] for s in who.values()])],
    ],
    ["question", "answer"],
)

# %% [markdown]
# - Text labels itself: which words stand beside this one, which sentences beside that one. What is learnt is what this
#   question needs. Company tells topics, and not whether "good" or "bad" was meant.
# - Word vectors as a first layer let a classifier know words that none of its labelled texts had. Frozen, they carry
#   over; moved as fast as the head, they lose nearly all of their lead.
# - Another language is another feature space, $\mathcal{X}_S \ne \mathcal{X}_T$. One orthogonal matrix, from a few
#   dozen pairs of words, carries a classifier across. It works as far as words are used alike on both sides.
# - An encoder that had to write a sentence's neighbours knows its order, and stays frozen while a small head learns from
#   few labels.
#
# What is not carried over here is *context within a sentence for every word*. Lesson 11 pre-trains a whole language
# model, and fine-tunes all of it.
#
# ### What if?
#
# - What if windows were one word wide? Or twenty? Which words would become neighbours, and which task would gain?
# - What if you knew no pair of words at all? Which words could you guess to belong together, from the shape of the two
#   spaces or from how often words occur, and how would you go on from there?
# - Skip-thought learned who acts because the neighbours depended on it. What would their sentences have to be like, for
#   the encoder to learn that "not bad" is praise?
