"""A mistake ends in one line on the error stream and status 1, before training starts, with nothing written."""

import pytest
import torch

from tests.support.helpers import VIEWS, merge, run_command, tiny_overrides
from tests.support.sampling import sampled
from tests.support.specimens import refuses

TRAIN = [  # model, overrides, what the error says; {} is the folder of specimens
    *[("resflow", f"{group}=nosuch", f"{group}/nosuch") for group in ("model", "data", "optimizer", "experiment")],
    ("resflow", "logger=null", "leave a group out with ~group"),
    ("resflow", "modle=resflow", "modle"),
    ("resflow", "learning_rate=1", "learning_rate"),
    ("resflow", "model.flow.nosuch=1", "nosuch"),
    ("resflow", "+model.flow.nosuch=1", "nosuch"),
    ("resflow", "+trainer.nosuch=1", "nosuch"),
    ("resflow", "+optimizer.nosuch=1", "nosuch"),
    ("resflow", "optimizer._target_=torch.optim.Nosuch", "Nosuch"),
    ("resflow", "model=[", "quote a text: 'model=\"[\"'"),
    ("resflow", "resflow", "resflow"),
    *[
        ("resflow", f"data.batch_size={value}", "data.batch_size must be")
        for value in ("0", "-1", "1.5", "abc", "null")
    ],
    ("resflow", "data.batch_size=1000", "batch_size=1000 exceeds"),
    ("resflow", "data.eval_batch_size=0", "data.eval_batch_size must be"),
    ("resflow", "data.n_validation=-1", "n_validation must be"),
    ("resflow", "data.max_shift=-1", "max_shift must be"),
    *[("resflow", f"data.distortion={value}", "distortion must be a number from 0 to 1") for value in (-1, 2)],
    *[("resflow", f"data.rerender={value}", "rerender must be a number from 0 to 0.5") for value in (-1, 1)],
    (
        "resflow",
        "data.rerender=0.1",
        "data.rerender draws images as MNIST's were drawn, of 28x28, got 14x14; use data.",
    ),
    ("resflow", "path={}/noise.npz model.flow.n_scales=2 data.rerender=0.1", "images have grey levels that "),
    ("hierarchical", "model.flow.n_palettes=0", "model.flow.n_palettes must be"),
    ("resflow", 'trainable="("', "trainable=( is no regular expression"),
    ("resflow", "optimizer._partial_=1", "cannot build torch.optim.Adam"),
    ("resflow", "trainable=nosuch", "trainable=nosuch is in no parameter's name"),
    ("resflow", "data.n_validation=1000", "cannot set 1000 of"),
    *[("resflow", f"optimizer.lr={value}", "optimizer.lr must be") for value in ("-1", "abc", "nan", "inf")],
    ("resflow", "optimizer.weight_decay=-1", "optimizer.weight_decay must be"),
    *[("resflow", f"seed={value}", "seed must be") for value in ("-1", "abc", "null")],
    *[("resflow", f"evaluation.{key}=0", f"evaluation.{key} must") for key in ("n_draws", "n_images", "batch_size")],
    ("resflow", "evaluation.split=train", "unknown split 'train'"),
    ("resflow", "model.flow.mask=nosuch", "unknown mask 'nosuch'"),
    ("resflow", "model.flow.mask=channel", "channel mask needs"),
    *[
        ("resflow", f"model.flow.scale_activation={value}", f"unknown scale_activation {shown}")
        for value, shown in (("nosuch", "'nosuch'"), ("-1", "-1"))
    ],
    ("resflow", "model.norm=nosuch", "unknown norm 'nosuch'"),
    ("resflow", "model.preprocess=nosuch", "unknown preprocess 'nosuch'"),
    ("resflow", "model.norm=batchnorm model.flow.norm.policy=nosuch", "policy 'nosuch'"),
    ("resflow", "model.norm=batchnorm model.flow.norm.momentum=0", "momentum"),
    ("resflow", "model.norm=actnorm model.flow.norm.eps=-1", "eps"),
    ("resflow", "data.dequantizer=nosuch", "data.dequantizer 'nosuch'"),
    *[("resflow", f"data.logit_alpha={value}", "alpha") for value in ("0.7", "0.5", "-0.1")],
    ("resflow", "model.flow.n_scales=3", "squeeze needs even sides, got 7x7; use fewer scales (model.flow.n_scales"),
    ("resflow", "model.flow.n_scales=0", "model.flow.n_scales must be from 1 to 16, got 0"),
    ("resflow", "model.flow.hidden_channels=0", "model.flow.hidden_channels must be"),
    ("resflow", "model.flow.mlp_features=-1", "model.flow.mlp_features must be"),
    ("cp3", "model.flow.hidden_channels=8", "hidden_channels"),
    ("cp3", "model.flow.mlp_features=1", "mlp_features"),
    ("cp3", "model.flow.n_couplings=0", "model.flow.n_couplings must be"),
    ("cp3", "path={}/small.npz", "at least 13x13"),
    ("glow", "model.flow.n_steps=0", "model.flow.n_steps must be"),
    ("glow", "model.flow.n_scales=2", "squeeze needs even sides, got 7x7"),
    ("spline", "model.flow.bound=0", "a bound above 0"),
    ("uva_simple", "model.flow.n_couplings_at=[1,1]", "one number for each scale"),
    ("uva_simple", "model.flow.n_couplings_at=[-1]", "n_couplings_at must be 0 or more"),
    ("glow", "model.flow.n_classes=5", "labels 0 to 4, the images have 0 to 9"),
    ("hierarchical", "path={}/unlabelled.npz model.flow.n_classes=10", "there is no 'labels' in {}/unlabelled.npz"),
    ("hierarchical", "path={}/constant.npz model.flow.n_classes=10", "every training image has the label 0"),
    ("hierarchical", "model.flow.event_shape=[3,8,8]", "a hierarchy needs grey images, one channel, got 3"),
    ("hierarchical", "model.flow.transformer_heads=3", "must be a multiple of transformer_heads=3"),
    ("hierarchical", "model.flow.n_scales=1.5", "model.flow.n_scales must be"),
    ("hierarchical", "model.flow.n_frequent=256", "from 0 to 255"),
    (
        "hierarchical",
        "model.flow.level_prior=nosuch",
        "model.flow.level_prior must be one of none, resampled, palettes",
    ),
    (
        "hierarchical",
        "model.flow.level_prior=resampled",
        "images of 28x28, got 14x14; use model.flow.level_prior=palettes",
    ),
    ("hierarchical", "path={}/noise.npz model.flow.level_prior=resampled", "the level prior does not fit the data: "),
    *[(model, "model.flow.level_prior=resampled", "level_prior") for model in ("resflow", "cp3")],
    *[("resflow", f"model.{key}=no", f"model.{key} must be true or false") for key in ("compile", "channels_last")],
    ("resflow", "data.count_log_det=off", "data.count_log_det must be true or false"),
    ("resflow", "callbacks=ema callbacks.ema.decay=2", "callbacks.ema.decay must be"),
    ("uva_vardeq", "data.dequantizer=cp3", "model.noise learns"),
    ("resflow", "trainer.precision=8-bit", "unknown precision '8-bit'"),
    *[
        (
            "resflow",
            f"trainer.precision=16-mixed {setting}",
            f"{setting} reads gradients, which trainer.precision",
        )
        for setting in ("trainer.gradient_clip_val=1", "callbacks=skip_bad_steps")
    ],
    ("resflow", "trainer.accelerator=nosuch", "nosuch"),
    ("resflow", "trainer.devices=0", "cannot build lightning.Trainer"),
    ("resflow", "trainer.devices=abc", "cannot build lightning.Trainer"),
    ("resflow", "trainer.max_steps=-2", "trainer.max_steps must be"),
    ("resflow", "trainer.max_epochs=abc", "trainer.max_epochs must be"),
    ("resflow", "trainer.max_time=abc", "abc"),
    ("resflow", "trainer.gradient_clip_val=-1", "trainer.gradient_clip_val must be"),
    ("resflow", "trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches must be"),
    ("resflow", "trainer.val_check_interval=0", "trainer.val_check_interval"),
    *[("resflow", f"trainer.limit_val_batches={value}", "limit_val_batches") for value in ("0", "-1", "abc")],
    *[("resflow", f"scheduler.warmup={value}", "warmup") for value in ("2", "-0.1", "abc")],
    ("resflow", "scheduler.final=2", "final"),
    ("resflow", "callbacks.samples.temperatures=[-1]", "temperatures"),
    ("resflow", "callbacks.samples.n_samples=0", "n_samples"),
    ("resflow", "callbacks.radius.n_images=0", "n_images"),
    ("resflow", "callbacks.divergence.every_n_steps=0", "every_n_steps"),
    ("resflow", "callbacks.progress.every_n_steps=0", "every_n_steps"),
    ("resflow", "callbacks.last.every_n_train_steps=-1", "every_n_train_steps"),
    ("resflow", "path=null", "path"),
    ("resflow", "path={}/cut", "has no pictures"),
    *[("resflow", f"path={{}}/{file}.npz", f"{file}.npz") for file in ("missing", "text", "truncated", "object")],
    ("resflow", "path={}/empty.npz", "no array 'images'"),
    ("resflow", "path={}/float.npz", "expected whole numbers from 0 to 255"),
    *[("resflow", f"path={{}}/{file}.npz", "expected grey images of shape") for file in ("flat", "none")],
    ("resflow", "path={}/labels.npz", "'labels'"),
    ("resflow", "data.event_shape=[1,12,12]", "the images are (1, 14, 14)"),
    ("resflow", "data.event_shape=14", "data.event_shape must be [channels,height,width], got 14"),
    ("resflow", "callbacks.samples=3", "callbacks.samples must be a part with a _target_"),
    *[("resflow", f"ckpt={{}}/{file}", file) for file in ("missing.ckpt", "truncated.ckpt", "foreign.ckpt")],
    *[("resflow", f"init_from={{}}/{file}", file) for file in ("missing.ckpt", "truncated.ckpt", "mnist")],
    *[
        ("resflow", f"{key}={{}}/run/checkpoints/last.ckpt model.flow.hidden_channels=5", "another architecture")
        for key in ("ckpt", "init_from")
    ],
    ("resflow", "ckpt={}/weights.ckpt", "init_from={}/weights.ckpt"),
    ("resflow", "ckpt={}/run/checkpoints/last.ckpt init_from={}/run/checkpoints/last.ckpt", "give one of them"),
    ("resflow", "output_dir={}/text.npz/run", "text.npz"),
    *[("resflow", f"{group}=nosuch", f"{group}/nosuch") for group in ("sweep", "launcher", "scheduler", "logger")],
    ("resflow", "hydra/launcher=nosuch", "pip install 'nf_mnist[sweep]'"),
    ("resflow", "hydra/sweeper=nosuch", "pip install 'nf_mnist[sweep]'"),
    ("resflow", "sweep=random_resflow hydra.sweeper.nosuch=1", "nosuch"),
    ("resflow", "rerun={}/run", "leave out model=resflow"),
    ("resflow", "ckpt=pretrained:nosuch", "no released weights 'nosuch'"),
    ("resflow", "trainer.strategy=nosuch", "nosuch"),
    ("resflow", "trainer.strategy=ddp_spawn", "trainer.strategy=ddp_spawn is not supported; use trainer.strategy=ddp"),
    ("resflow", "+optimizer.betas=[0.5]", "cannot build torch.optim.Adam: list index out of range"),
    ("resflow", "ckpt=[]", "ckpt must be a text, got []"),
    ("resflow", "model.flow=null", "model.flow must be a part with a _target_"),
    ("resflow", "path={}/é.npz", "quote a text: 'path=\"{}/é.npz\"'"),
    ("resflow", "trainer.plugins=[nosuch]", "nosuch"),
    *[("resflow", f"trainer.max_time={value}", "DD:HH:MM:SS") for value in ("1", "[]", "01:00:00")],
    ("resflow", "callbacks.last._target_=nf_mnist.training.callbacks.Nosuch", "Nosuch"),
    ("resflow", "callbacks.best.monitor=null callbacks.best.save_top_k=3", "save_top_k"),
    ("resflow", "+callbacks.x={_target_:os.nosuch}", "os.nosuch"),
    ("resflow", "logger.csv._target_=nosuch", "nosuch"),
]


@pytest.mark.parametrize(("model", "overrides", "said"), sampled(TRAIN))
def test_train_refuses_a_mistake(model, overrides, said, files, tmp_path):
    base = tiny_overrides(files / "images.npz", tmp_path / "run", model, VIEWS)
    given = overrides.replace("{}", str(files)).split()
    refuses("train", merge([*base, "trainer.max_steps=2"], given), said.replace("{}", str(files)), tmp_path)


@pytest.mark.parametrize(
    "overrides", ["trainer.check_val_every_n_epoch=1 trainer.val_check_interval=500", "callbacks.last.filename=3"]
)
def test_what_lightning_refuses_is_said_in_a_line(overrides, files, tmp_path):
    base = [*tiny_overrides(files / "images.npz", tmp_path / "run"), "trainer.max_steps=1"]
    ended = run_command("train", *merge(base, [*overrides.split(), "callbacks.last.every_n_train_steps=1"]))
    assert ended.code == 1
    said = ended.err.splitlines()[-1]
    assert said.startswith("error: Lightning refuses a setting of trainer, callbacks or logger: "), ended.err


@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_train_refuses_a_gpu_that_is_not_there(accelerator, files, tmp_path):
    base = tiny_overrides(files / "images.npz", tmp_path / "run")
    refuses("train", merge(base, [f"trainer.accelerator={accelerator}"]), accelerator, tmp_path)


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("nowhere", "SHA256SUMS"),
        ("mnist", "train-images-idx3-ubyte.gz is damaged: its SHA-256 is "),
        ("cut", "train-images-idx3-ubyte.gz is damaged"),
    ],
)
def test_train_names_the_damaged_data_file(folder, said, files, tmp_path):
    refuses("train", [f"output_dir={tmp_path}/run", f"+data.source.folder={files}/{folder}"], said, tmp_path)


def test_train_refuses_a_folder_that_holds_a_run(files):
    run = files / "run"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    finished = run_command("train", *tiny_overrides(files / "images.npz", run), "trainer.max_steps=2")
    assert (finished.code, finished.err.count("\n")) == (1, 1)
    assert "holds a run already" in finished.err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
