"""Everything a run can be told: one frozen dataclass, one field a flag.

Precedence, weakest first: the defaults of :class:`Config`, the preset, the flags given. Without
``--preset`` the model's family chooses it: the DenseNet paper's recipe for DenseNets, the
stochastic-depth paper's for everything else, of 1,202 layers its own. `records.flags` reads the
command line.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import Any, Callable, Mapping

from errors import InputError, nearest
from records.recipes import default_preset, read_recipe

# Passed on to `models.get_model` where they are set.
MODEL_OPTIONS = (
    "depth",
    "width",
    "growth_rate",
    "bottleneck",
    "compression",
    "dropout",
    "final_survival_prob",
)
# What may differ when a run is resumed: nothing that changes a step, but for a longer run's epochs.
RESUMABLE = ("epochs", "data_dir", "checkpoint_minutes", "log_interval", "resume")
# What may differ besides, in this part of the run alone: where it is and what computes it.
PLACE = ("ctx", "gpus", "run_dir", "name")

# Settings of older runs, and those of their values that are passed over: they change no net.
_RETIRED: Mapping[str, tuple[Any, ...]] = {"memory_efficient": (False, True), "pool": (False,)}


def yes_no(text: str) -> bool:
    """Read the value of a flag that is yes or no."""
    if text not in ("yes", "no"):
        raise ValueError(text)
    return text == "yes"


def numbers(text: str) -> tuple[float, ...]:
    """Read comma-separated numbers, as in ``0.5,0.75``."""
    return tuple(float(part) for part in text.split(","))


def integers(text: str) -> tuple[int, ...]:
    """Read comma-separated whole numbers, as in ``0,1``."""
    return tuple(int(part) for part in text.split(","))


# What a reader's values, or the entries of its lists, are, and how a message calls them.
_KINDS: Mapping[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "text"),
    yes_no: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    integers: ((int,), "a list of whole numbers"),
    numbers: ((int, float), "a list of numbers"),
}


def flag(
    default: Any,
    help: str,
    read: Callable[[str], Any] = str,
    least: float = 0,
    most: float = 1_000_000,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """Make a field of :class:`Config`: default, help, how to read it, the range of its numbers."""
    read = yes_no if isinstance(default, bool) else read
    return dataclasses.field(
        default=default,
        metadata={"help": help, "read": read, "least": least, "most": most, "choices": choices},
    )


@dataclass(frozen=True)
class Config:
    """One run; the field ``batch_size`` is the flag ``--batch-size``, and so on.

    Make one by `parse_args` or `make_config`, which fill in the preset.
    """

    model: str = flag("densenet", "what to train; python -m models lists the names")
    depth: int | None = flag(None, "depth instead of the model's own", int, 1, 2000)
    width: int | None = flag(None, "ResNet: so many times the channels of every layer", int, 1, 32)
    growth_rate: int | None = flag(None, "DenseNet: channels that a layer adds", int, 1, 256)
    bottleneck: bool | None = flag(None, "DenseNet: 1x1 convolutions, yes or no", yes_no)
    compression: float | None = flag(None, "DenseNet: share a transition keeps", float, 0.01, 1)
    dropout: float | None = flag(None, "DenseNet (default 0.2 with --no-augment)", float, 0, 0.99)
    final_survival_prob: float | None = flag(
        None, "ResNet: p_L of stochastic depth; 1 is off", float, 0.01, 1
    )

    init_from: str | None = flag(
        None,
        "start from weights: a run, a checkpoint, a pretrained or GluonCV name, a .params file",
    )
    freeze: str = flag("", "what does not learn: features, or the first so many groups of them")

    dataset: str = flag("cifar10", "cifar10, cifar100, shapes (needs no download) or folder")
    data_dir: str | None = flag(None, "where the data is (default: MXNet's own data home)")
    val_size: int | None = flag(
        None, "images held out for validation; 0: none (default: a tenth, 5,000 at most)", int
    )
    train_size: int = flag(0, "training images to take, the same share of every class; 0: all", int)
    no_augment: bool = flag(False, "neither crop nor flip")
    cutout: int = flag(0, "cutout: side of the square in pixels", int, 0, 32)
    mixup: float = flag(0.0, "mixup: alpha of the Beta distribution", float, 0, 100)
    cutmix: float = flag(0.0, "CutMix: alpha of the Beta distribution", float, 0, 100)
    label_smoothing: float = flag(0.0, "probability spread over all classes", float, 0, 0.99)
    augment_off_epochs: int = flag(0, "last epochs with crop and flip alone", int)

    epochs: int = flag(300, "passes over the training images", int, 1, 10_000)
    batch_size: int = flag(64, "images a step, over all devices and workers together", int, 1)
    lr: float = flag(0.1, "learning rate after the warm-up", float)
    lr_schedule: str = flag("step", "what follows the warm-up", choices=("step", "cosine"))
    lr_milestones: tuple[float, ...] = flag(
        (0.5, 0.75),
        "where lr falls tenfold: shares of the run below 1, epochs from 1 on",
        numbers,
        1e-6,
    )
    warmup_epochs: int = flag(0, "epochs of linear warm-up from 0", int)
    warmup_lr: float | None = flag(None, "keep to this lr during the warm-up instead", float)
    momentum: float = flag(0.9, "Nesterov momentum", float, 0, 0.9999)
    wd: float = flag(1e-4, "weight decay", float)
    no_decay_norm: bool = flag(False, "no weight decay on BatchNorm and biases")
    clip_grad: float = flag(0.0, "largest norm of the gradient; 0: do not clip", float)
    accumulate: int = flag(1, "parts to compute a batch in, to save memory", int, 1)
    ema: float | None = flag(
        None, "decay of a moving average of the weights, which is then tested", float, 0, 0.999999
    )

    ctx: str = flag("auto", "auto: a GPU if one can be used", choices=("auto", "cpu", "gpu"))
    gpus: tuple[int, ...] = flag(
        (), "device numbers, as in 0,1; also with --ctx cpu", integers, 0, 63
    )
    kvstore: str = flag("device", "dist_sync: many machines", choices=("device", "dist_sync"))
    amp: bool = flag(False, "mixed precision: float16 on GPUs, bfloat16 on CPUs that have it")
    deterministic: bool = flag(False, "repeatable bits on a GPU too, at some cost in speed")
    no_hybridize: bool = flag(False, "run the net imperatively, to debug it")

    preset: str = flag(
        "", "a recipe: a name (below) or a JSON file, as a config.json; flags win [its paper's]"
    )
    seed: int = flag(0, "of everything random", int, 0, 2**31 - 1)
    run_dir: str = flag("runs", "folder of run folders")
    name: str = flag("", "the run's folder in it (default: net, data set and time)")
    resume: str | None = flag(None, "run folder: go on as if the run had never stopped")
    checkpoint_minutes: float = flag(
        10.0, "longest time between checkpoints; 0: epochs' ends alone", float
    )
    log_interval: int = flag(100, "steps between lines in the log", int, 1)

    def __post_init__(self) -> None:
        """Refuse what lies out of range or does not fit together."""
        for field in dataclasses.fields(self):
            _check_value(field, getattr(self, field.name))
        if len(set(self.gpus)) < len(self.gpus):
            raise InputError(f"--gpus {self.gpus}: every device number once")
        if self.warmup_epochs >= self.epochs:
            raise InputError(f"--warmup-epochs must be fewer than --epochs {self.epochs}")
        if not re.fullmatch("|features|[1-9][0-9]{0,3}", self.freeze):
            raise InputError(
                f"--freeze {self.freeze}: choose features or a number of groups from 1 on"
            )
        if self.name != re.sub(r"[^\w.+=-]", "", self.name) or self.name.startswith("."):
            raise InputError(f"--name {self.name!r}: use letters, digits and . _ - + = only")

    def model_options(self) -> dict[str, Any]:
        """Return what `models.get_model` is to be told beside the name and the classes."""
        options = {name: getattr(self, name) for name in MODEL_OPTIONS}
        return {name: value for name, value in options.items() if value != getattr(Config, name)}

    def to_dict(self) -> dict[str, Any]:
        """Return every field in a form that JSON can hold."""
        fields = dataclasses.asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in fields.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Return the config that `to_dict` wrote, also before there were as many fields.

        Raises
        ------
        InputError
            If a field is unknown, or a value does not fit.
        """
        return cls(**checked(values, "config.json: "))


def checked(values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Return settings, as JSON or Python gives them, as values of :class:`Config`.

    Lists become tuples, and what only older versions knew is left out. Messages begin with `where`
    the settings come from; without it they speak of flags.

    Raises
    ------
    InputError
        If a name is unknown, or a value is of the wrong type or out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(Config)}
    values = {n: v for n, v in values.items() if not any(v is old for old in _RETIRED.get(n, ()))}
    unknown = [
        f"unknown setting {name[:40]!r}:{nearest(name[:40], fields)}"
        for name in values
        if name not in fields
    ]
    if unknown:
        raise InputError(where + "; ".join(unknown[:3]))
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    for name, value in values.items():
        _check_value(fields[name], value, where)
    return values


def _check_value(field: dataclasses.Field, value: Any, where: str = "") -> None:
    """Refuse a field's value of the wrong type or out of range; see `checked`."""
    name = where + field.name if where else "--" + field.name.replace("_", "-")
    read, least, most = (field.metadata[key] for key in ("read", "least", "most"))
    choices = field.metadata["choices"]
    if value is None and field.default is None:
        return
    kinds, wanted = _KINDS[read]
    many = isinstance(value, tuple)
    parts = value if many else (value,)
    # By its very type, since True is an instance of int.
    if many != (read in (integers, numbers)) or any(type(part) not in kinds for part in parts):
        null = " or null" if field.default is None else ""
        found = json.dumps(value, default=str)
        raise InputError(f"{name} is {found:.40}: {wanted}{null} is wanted")
    for number in parts if int in kinds else ():
        if not least <= number <= most:  # nor does one that is not finite
            raise InputError(f"{name} {number!r:.40} is out of range: from {least:,} to {most:,}")
    if choices and value not in choices:
        raise InputError(f"{name} {value:.40}: choose from {', '.join(choices)}")


def make_config(**given: Any) -> Config:
    """Return a config: the defaults, then the preset, then what is given.

    Fields of :class:`Config` are given; ``preset`` is one of them, and filled in where it is not.
    Where the DenseNet paper has dropout, so has the config.

    Raises
    ------
    InputError
        If a field or a preset is unknown, or a value does not fit.
    """
    given = checked(given)
    preset = given.get("preset") or default_preset(given.get("model", "densenet"))
    recipe = checked(read_recipe(preset), f"{preset}: ")
    made = Config(**{**recipe, **given, "preset": preset})
    if made.no_augment and made.dropout is None and default_preset(made.model) == "densenet":
        made = dataclasses.replace(made, dropout=0.2)  # as in the DenseNet paper, section 4.2
    return made
