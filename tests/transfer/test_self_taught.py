from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from torch import nn

from tlcore import training, transfer, worlds, zoo
from tlcore.transfer.slow import _FramePairs, _spread

WORLD = worlds.Shapes(shapes=("arrow", "heart"))
QUIET: dict[str, Any] = {"progress": False, "arithmetic": training.Arithmetic(), "device": "cpu"}


def tiny(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 2),
    )  # fmt: skip


def trained(name: str, net: nn.Module, images: Any, epochs: int = 1, **more: Any) -> training.History:
    """One of the pretext tasks on images of 44 pixels (films) or 32."""
    if name in ("slow_features", "ego_motion"):
        clips = images if isinstance(images, transfer.Clips) else transfer.film(images)
        return getattr(transfer, name)(net, clips, epochs=epochs, **{"batch_size": 8, "lr": 0.01, **QUIET, **more})
    return getattr(transfer, name)(net, images, epochs=epochs, **{"batch_size": 8, "lr": 0.01, **QUIET, **more})


NAMES = ("rotation", "exemplar", "autoencoder", "slow_features", "ego_motion")


@pytest.mark.parametrize("name", NAMES)
def test_every_pretext_gives_a_trunk_that_can_be_cut_and_fine_tuned_and_reads_no_labels(name):
    data = WORLD.but(size=44 if name in ("slow_features", "ego_motion") else 32).sample(24)
    nets = [tiny(), tiny()]
    other = worlds.Dataset(data.inputs, torch.zeros(24), (), "no classes")
    for net, images in zip(nets, (data, other)):
        history = trained(name, net, images)
        assert history.last.epoch == 1 and history.settings["method"] == name
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters()))
    assert not torch.equal(nets[0][0].weight, tiny()[0].weight)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in nets[0].modules())
    few = WORLD.sample(16)
    assert transfer.FeatureExtractor(nets[0], "neck", device="cpu").transform(few).shape == (16, 64)
    transfer.fine_tune(nets[0], few, num_classes=2, epochs=1, **QUIET)
    assert nets[0](few.inputs).shape == (16, 2)


@pytest.mark.parametrize("name", NAMES)
def test_every_pretext_takes_a_zoo_net_bytes_and_automatic_arithmetic(name):
    images = (WORLD.but(size=44 if name in ("slow_features", "ego_motion") else 32).sample(16).inputs * 255).byte()
    net = zoo.get_model("resnet20")
    trained(name, net, images, arithmetic="auto")
    assert not net.training and transfer.FeatureExtractor(net, "neck").transform(WORLD.sample(3)).shape == (3, 64)


@pytest.mark.parametrize("name", NAMES)
def test_every_pretext_refuses_what_are_no_images(name):
    if name in ("slow_features", "ego_motion"):
        with pytest.raises((TypeError, AttributeError), match=r"Clips|film|motion"):
            getattr(transfer, name)(tiny(), torch.rand(4, 3, 32, 32), epochs=1)
        one = transfer.film(torch.rand(1, 3, 44, 44), seed=1)
        with pytest.raises(ValueError, match="1 clips in batches of 64; at least 2"):
            getattr(transfer, name)(tiny(), one, epochs=1)
        return
    with pytest.raises(TypeError, match="images are a list"):
        getattr(transfer, name)(tiny(), ["a"], epochs=1)
    with pytest.raises(ValueError, match=r"images are \(1, 3, 32, 32\); at least 2"):
        getattr(transfer, name)(tiny(), torch.rand(1, 3, 32, 32), epochs=1)


# rotation


def test_four_quarter_turns_are_numpys():
    x = torch.rand(3, 2, 5, 5)
    turned, y = transfer.rotated(x)
    for k in range(4):
        assert np.array_equal(turned[3 * k : 3 * k + 3], np.rot90(x.numpy(), k, (2, 3)))
    assert y.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    with pytest.raises(ValueError, match=r"\(4, 3, 8, 9\); square"):
        transfer.rotation(tiny(), torch.rand(4, 3, 8, 9), epochs=1)


def test_which_way_is_up_can_be_learned():
    plain = {"textures": ("plain",), "backgrounds": ("plain",), "noise": 0.0, "clutter": 0.0, "slant": 0.0}
    upright = worlds.Shapes(shapes=("arrow",), angle=(-10, 10), **plain)
    net = tiny()
    history = transfer.rotation(net, upright.sample(256), epochs=30, batch_size=16, lr=0.1, augment=(), **QUIET)
    x, y = transfer.rotated(upright.sample(64, seed=9).inputs)
    assert float((net(x).argmax(1) == y).float().mean()) > 0.8 and history.last.train_accuracy > 0.8


# exemplars


def test_exemplars_are_as_many_classes_as_images_or_as_asked():
    data = WORLD.sample(12)
    for asked, got in ((500, 12), (5, 5)):
        net = tiny()
        history = transfer.exemplar(net, data, surrogates=asked, copies=3, batch_size=6, epochs=1, **QUIET)
        assert net(data.inputs).shape == (12, got) and history.settings["surrogates"] == got
    net = tiny()
    history = transfer.exemplar(net, data, epochs=40, copies=8, batch_size=32, lr=0.05, **QUIET)
    assert history.last.train_accuracy > 0.3  # of 12 classes, in spite of changes
    with pytest.raises(ValueError, match="surrogates=1"):
        transfer.exemplar(tiny(), data, surrogates=1, epochs=1)
    with pytest.raises(ValueError, match="without changes"):
        transfer.exemplar(tiny(), data, augment=(), epochs=1)


# autoencoders


def test_a_linear_autoencoder_ends_at_the_principal_components():
    """Baldi & Hornik 1989: no linear one redraws better than PCA, and every minimum is as good."""
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=draws) @ torch.randn(6, 6, generator=draws)
    x = (x - x.mean(0)) / x.std()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 2, bias=False), nn.Linear(2, 3))
    transfer.autoencoder(
        net, x, epochs=600, batch_size=200, schedule="constant", optimizer=lambda p: torch.optim.Adam(p, 0.02), **QUIET
    )
    pca = PCA(2).fit(x)
    expected = float(((pca.inverse_transform(pca.transform(x)) - x.numpy()) ** 2).mean())
    axes = torch.linalg.qr(net[0].weight.detach().T).Q.numpy()  # the plane that the neck sees
    found = float(((x.numpy() @ axes @ axes.T - x.numpy()) ** 2).mean())
    assert expected <= found * (1 + 1e-5) and found < 1.02 * expected


def test_noise_is_on_the_input_and_not_on_what_is_drawn():
    from tlcore.transfer.autoencoder import _Redrawn

    data = worlds.Dataset(torch.rand(10, 3), torch.zeros(10))
    noisy, clean = next(iter(_Redrawn(worlds.Loader(data, 10, shuffle=False), 0.5, 0)))
    assert torch.equal(clean, data.inputs) and not torch.equal(noisy, clean)
    assert float((noisy - clean).std()) == pytest.approx(0.5, abs=0.2)
    with pytest.raises(ValueError, match="noise=-1"):
        transfer.autoencoder(tiny(), data, noise=-1, epochs=1)


@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=15, deadline=None)
def test_the_decoder_draws_any_size(channels, height, width):
    assert transfer.Decoder(7, (channels, height, width))(torch.rand(2, 7)).shape == (2, channels, height, width)


# films


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(2, 7))
@settings(max_examples=25, deadline=None)
def test_every_frame_is_the_picture_seen_from_where_the_camera_says_it_is(seed, speed, frames):
    rows, columns = torch.meshgrid(torch.arange(14.0), torch.arange(13.0), indexing="ij")
    places = torch.stack([rows, columns]).expand(3, 2, 14, 13)
    clips = transfer.film(places, frames=frames, window=8, speed=speed, seed=seed)
    assert clips.frames.shape == (3, frames, 2, 8, 8) and int(clips.motion.abs().max()) <= speed
    corner = clips.frames[:, :, :, 0, 0]  # (N, T, 2): where the camera is
    assert torch.equal(corner.diff(dim=1), clips.motion.float())
    window = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij"))
    assert torch.equal(clips.frames, corner[..., None, None] + window)


def test_films_refuse():
    for options, wanted in (
        ({"window": 44}, "larger ones than the window"),
        ({"frames": 1}, "from 2 frames on"),
        ({"speed": 13}, "a speed from 1 to 12"),
    ):
        with pytest.raises(ValueError, match=wanted):
            transfer.film(torch.rand(2, 3, 44, 44), **options)


# slow features


def test_slow_feature_analysis_undoes_a_mixture():
    t = np.linspace(0, 40, 3000)
    sources = np.stack([np.sin(t), np.cos(3.1 * t), np.sin(11 * t)], 1)
    mixed = sources @ np.random.default_rng(0).normal(size=(3, 3)) + 4
    model = transfer.SlowFeatureAnalysis(3).fit(mixed)
    found = model.transform(mixed)
    for n in range(3):
        assert abs(np.corrcoef(found[:, n], sources[:, n])[0, 1]) > 0.99
    assert np.allclose(found.mean(0), 0) and np.allclose(found.T @ found / 3000, np.eye(3), atol=1e-8)
    assert np.allclose(model.slowness_, (np.diff(found, axis=0) ** 2).mean(0)) and (np.diff(model.slowness_) > 0).all()


def test_no_direction_of_variance_1_is_slower():
    draws = np.random.default_rng(1)
    x = np.cumsum(draws.normal(size=(300, 4)), 0) * [1, 5, 1, 2] + 10 * draws.normal(size=(300, 4))
    slowest = transfer.SlowFeatureAnalysis(1).fit(x).slowness_[0]
    for _ in range(300):
        y = x @ draws.normal(size=4)
        assert ((np.diff(y) ** 2).mean() / y.var()) >= slowest - 1e-12


def test_clips_are_not_run_together():
    x = np.concatenate([np.arange(10.0), 100 + np.arange(10.0)]).reshape(2, 10, 1)
    assert transfer.SlowFeatureAnalysis(1).fit(x).slowness_[0] == pytest.approx(1 / x.var())
    for X, wanted in (
        (np.zeros(5), r"moments \(T, F\) or clips"),
        (np.random.rand(4, 3), "4 rows; at least 5"),
        (np.ones((9, 2)), "without variance"),
    ):
        with pytest.raises(ValueError, match=wanted):
            transfer.SlowFeatureAnalysis(1).fit(X)
    with pytest.raises(ValueError, match="from 1 to 2"):
        transfer.SlowFeatureAnalysis(3).fit(np.random.rand(9, 2))


def test_the_softened_constraints_by_hand():
    z = torch.tensor([[1.0, 0], [-1, 0], [0, 0.5], [0, -0.5]], dtype=torch.float64)
    spread = torch.cov(z.T)
    short = torch.relu(1 - (spread.diag() + 1e-4).sqrt()).mean()
    assert torch.allclose(_spread(z, 2.0, 0.0), 2 * short)
    turned = z @ torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
    assert torch.allclose(_spread(turned, 0.0, 1.0), torch.cov(turned.T)[0, 1] ** 2)


def test_slow_features_tell_scenes_apart_and_frames_of_one_scene_not():
    clips = transfer.film(worlds.Shapes(size=44).sample(200), speed=3)
    ratios = []
    for epochs in (0, 25):
        net = tiny()
        if epochs:
            transfer.slow_features(net, clips, epochs=epochs, batch_size=50, lr=0.02, **QUIET)
        neck = nn.Sequential(*net[:6])
        with torch.no_grad():
            z = neck(clips.frames.flatten(0, 1)).unflatten(0, (200, 6))
        ratios.append(float(z.var(1).mean() / z.flatten(0, 1).var(0).mean()))
    assert ratios[1] < 0.7 * ratios[0]


def test_motion_is_learned_beyond_chance():
    clips = transfer.film(worlds.Shapes(size=44, clutter=0.0, noise=0.0).sample(300), speed=2)
    torch.manual_seed(0)
    net = nn.Sequential(  # that keeps where things are
        nn.Conv2d(3, 16, 5, 2), nn.ReLU(), nn.Conv2d(16, 16, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(576, 64), nn.ReLU(),
        nn.Linear(64, 2),
    )  # fmt: skip
    history = transfer.ego_motion(
        net, clips, epochs=60, batch_size=50, optimizer=lambda p: torch.optim.Adam(p, 0.003), **QUIET
    )
    assert history.settings["chance"] == pytest.approx(np.log(5))
    assert history.last.train_loss < 0.9 * history.settings["chance"]
    still = transfer.Clips(clips.frames[:, :2], torch.zeros(300, 1, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="never moves"):
        transfer.ego_motion(tiny(), still, epochs=1)


def test_pairs_are_neighbouring_frames_and_their_motion():
    rows, columns = torch.meshgrid(torch.arange(44.0), torch.arange(44.0), indexing="ij")
    clips = transfer.film(torch.stack([rows, columns]).expand(9, 2, 44, 44))
    pairs = _FramePairs("f", clips, 4, torch.device("cpu"), 0)
    seen = list(pairs)
    assert len(pairs) == 2 and [len(y) for _, y in seen] == [4, 4]
    for x, y in seen:
        assert torch.equal(x[:, 1, :, 0, 0] - x[:, 0, :, 0, 0], y.float())
