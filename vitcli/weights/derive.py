"""What the names and shapes of a file tell about its model; the rest (heads, activation, eps) must be said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vitcli.core.draft import Draft, expand, format_value, override, validated
from vitcli.core.errors import RecipeError, RequestError, WeightsError
from vitcli.core.recipe import DataSpec
from vitcli.core.reporter import Reporter, Silent
from vitcli.core.spec import LAYERS, ModelSpec
from vitcli.core.variants import VARIANTS
from vitcli.weights.beside import BESIDE
from vitcli.weights.header import Card, Header, Layout, Preprocess
from vitcli.weights.names import check_file, code_of, is_peft, native_shapes
from vitcli.weights.renaming import Code

Shapes = Mapping[str, tuple[int, ...]]
# Widths whose heads have not 64 features, beside those of the variants: SoViT-400m (arXiv:2305.13035, section 4),
# and OpenCLIP's bigG and e, which have those of ViT-G (arXiv:2106.04560, table 2) and ViT-e (arXiv:2209.06794, 3.1).
_HEADS = {1152: 16, 1664: 16, 1792: 16}


def describe(
    header: Header, layout: Layout, overrides: Sequence[str] | Draft, reporter: Reporter | None = None
) -> Card:
    """Returns what a file holds: its own card, or one derived from its shapes and the overrides.

    `overrides` are texts, or a draft of `model.*` alone; `reporter` is told what is assumed.

    Raises:
        RecipeError: an override is unknown or contradicts the file.
        WeightsError: the tensors are not those of a model that vit knows.
    """
    path, card, reporter = header.path, header.card, reporter or Silent()
    texts = () if isinstance(overrides, Draft) else overrides
    wrong = [text for text in texts if not text.startswith("model.")]
    if wrong:
        raise RequestError(f"'{wrong[0]}': only model.key=value says what a weights file holds")
    if card is None and is_peft(header.shapes):
        raise WeightsError(
            f"{path} is an adapter of PEFT's, not a whole model; merge it first: "
            f"vit convert weights {path} model.safetensors --merge --base FILE"
        )
    if card is None:
        beside = BESIDE.get(layout)
        config = beside.read_config(path.parent) if beside else {}
        spec = derive_spec(header.shapes, overrides, str(path), layout, config, reporter)
        usual, seen, names = _seen(spec, code_of(header.shapes, layout)), None, _numbered(spec)
        if beside:
            seen = beside.read_preprocess(path.parent, spec.image_size, usual, reporter)
            seen = seen and seen.fitted(spec.in_channels)
            if named := beside.class_names(config, spec.num_classes):
                names = named
            elif names and ("id2label" in config or "label_names" in config):
                reporter.note(
                    f"the {beside.CONFIG} beside {path} does not name each of {len(names)} classes: numbered"
                )
        if seen is None:
            reporter.note(f"{path} does not say how images are seen: {usual.words()}, as is usual")
        card = Card(spec=spec, classes=names, preprocess=seen or usual)
    elif card.base is not None:
        raise WeightsError(
            f"{path} is an adapter of {card.base.path}, not a whole model; merge it first: "
            f"vit convert weights {path} model.safetensors --merge"
        )
    else:
        said = _said(overrides)
        known = {f"model.{key}": value for key, value in card.spec.flat().items()}
        said.derived({key: known.get(key) for key in said.values}, f"the metadata of {path}")
    try:
        dropped = check_file(header, card.spec, layout)
    except WeightsError as error:
        if layout != "timm" or not _fits(header, card.spec):
            raise
        raise WeightsError(f"{error}; it fits a model that timm has not: --from torch") from error
    if dropped:
        more = f" and {len(dropped) - 3} more" if len(dropped) > 3 else ""
        reporter.note(f"{path}: {', '.join(dropped[:3])}{more} left out: logits do not depend on them")
    return card


def _fits(header: Header, spec: ModelSpec) -> bool:
    """Returns whether a file holds a model under native names."""
    try:
        check_file(header, spec, "torch")
    except WeightsError:
        return False
    return True


def derive_spec(
    shapes: Shapes,
    assignments: Sequence[str] | Draft,
    source: str,
    layout: Layout = "native",
    config: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> ModelSpec:
    """Returns the spec of a file that carries none, completed by `model.key=value` assignments.

    Args:
        shapes: names and shapes as the file has them.
        assignments: what shapes cannot tell, `model.num_heads=3` at least.
        source: what to call the file.
        layout: of the file.
        config: what stands beside the file.
        reporter: is told what is assumed where nothing says it: what the code behind a layout has by default, and
            the number of heads: a variant's, or that of heads of 64 features.

    Raises:
        RecipeError: an assignment is wrong, missing, or contradicts what the shapes say.
        WeightsError: the names are not those of a Vision Transformer.
    """
    said, reporter = _said(assignments), reporter or Silent()
    code = code_of(shapes, layout)
    described: dict[str, Any] = {}
    beside = BESIDE.get(layout)
    described_by = f"the {beside.CONFIG} beside {source}" if beside else ""
    if code and beside:
        described = beside.told(config or {}, described_by, code)
    if code:
        _check_known(shapes, code, layout, source)
    facts = _facts(code, {**described, **said.values}, shapes) if code else {}
    try:
        found = derived_values(
            native_shapes(shapes, layout), Draft(values={**facts, **described, **said.values}), source, layout
        )
    except (IndexError, ValueError) as error:
        raise WeightsError(
            f"{source} is not a Vision Transformer: a tensor has other axes ({error})"
        ) from error
    draft = said.derived(found | facts, f"the tensors of {source}")
    for key, value in described.items():
        if key not in said.values and draft.get(key, value) != value:
            raise WeightsError(
                f"{key}={format_value(draft.get(key))} (the tensors of {source}) contradicts {described_by}, "
                f"which makes it {format_value(value)}: put its own there, or none"
            )
    draft = draft.derived(described, described_by)
    if code:
        draft = _assumed(draft, code, source, reporter)
    if "model.num_heads" not in draft.values:
        heads = _usual_heads(found["model.embed_dim"], source, reporter)
        draft = draft.derived({"model.num_heads": heads}, "the usual number of heads")
    if "model.image_size" not in draft.values:
        raise WeightsError(
            f"{source} has no learned positions, which would tell the image size: {_say('model.image_size=N')}"
        )
    values = {key.removeprefix("model."): value for key, value in draft.values.items()}
    origins = {key.removeprefix("model."): origin for key, origin in draft.origins.items()}
    try:
        return validated(ModelSpec, values, origins)
    except RecipeError as error:
        raise RecipeError(f"{source}: {error}") from error


def derived_values(shapes: Shapes, said: Draft, source: str, layout: Layout = "native") -> dict[str, Any]:
    """Returns what native names and shapes tell, as dotted recipe keys."""
    try:
        D, C, P, _ = shapes["patch_embed.proj.weight"]
        fc1, (_, M) = shapes["blocks.0.mlp.fc1.weight"][0], shapes["blocks.0.mlp.fc2.weight"]
        qkv = shapes["blocks.0.attn.qkv.weight"]
    except KeyError as error:
        plain = layout in ("native", "torch", "jax")
        names = "the names of timm, or of another layout that vit reads" if plain else f"{layout}'s names"
        raise WeightsError(
            f"{source} is not a Vision Transformer with {names}: {error} is missing; "
            f"it holds {', '.join(list(shapes)[:4]) or 'nothing'}{', ...' if len(shapes) > 4 else ''}"
        ) from error
    depth = len({name.split(".")[1] for name in shapes if name.startswith("blocks.")})
    gated = fc1 == 2 * M
    values: dict[str, Any] = {
        "model.embed_dim": D,
        "model.in_channels": C,
        "model.patch_size": P,
        "model.num_classes": shapes["head.weight"][0] if "head.weight" in shapes else 0,
        "model.head.distilled": "head_dist.weight" in shapes,
        "model.depth": depth,
        "model.mlp_dim": M,
        "model.tokens.patch_bias": "patch_embed.proj.bias" in shapes,
        "model.tokens.class_token": "cls_token" in shapes,
        "model.tokens.registers": shapes.get("reg_token", (1, 0, D))[1],
        "model.attention.qkv_bias": "blocks.0.attn.qkv.bias" in shapes,
        "model.attention.output_projection": "blocks.0.attn.proj.weight" in shapes,
        "model.attention.projection_bias": "blocks.0.attn.proj.bias" in shapes
        or "blocks.0.attn.proj.weight" not in shapes,
        "model.attention.qk_norm": "blocks.0.attn.q_norm.weight" in shapes,
        "model.norm.before_blocks": "norm_pre.weight" in shapes,
        "model.norm.final": _final(shapes, said),
    }
    if len(qkv) == 3:  # one kernel for query, key and value of each head
        values |= {"model.linear": "sequence", "model.num_heads": qkv[0] // 3}
    if gated:
        values["model.mlp.activation"] = "swiglu"
    if "blocks.0.ls1.gamma" in shapes and said.get("model.layer_scale") is None:
        values["model.layer_scale"] = 1.0  # the initial value is history; the trained gammas are in the file
    if "pre_logits.weight" in shapes:
        values["model.head.pre_logits"] = shapes["pre_logits.weight"][0]
    if values["model.num_classes"]:
        values["model.head.bias"] = "head.bias" in shapes
    values |= _adapters(shapes, said, source) | _positions(shapes, values, said, source)
    return values | _pool(shapes, values, said)


def _final(shapes: Shapes, said: Draft) -> str:
    """Returns where the last norm stands by its name; one that may stand in either place is where it is said."""
    names = {"before_pool": "norm.weight", "after_pool": "fc_norm.weight"}
    there = [final for final, name in names.items() if name in shapes]
    given = said.get("model.norm.final")
    return str(given) if given in there else there[0] if there else "none"


def _check_known(shapes: Shapes, code: Code, layout: Layout, source: str) -> None:
    """Checks, before anything is assumed or asked for, that a code has all tensors of a file."""
    unknown = [name for name in shapes if not code.has(name)]
    for name in unknown:
        if what := code.lacks(name):
            raise WeightsError(f"{source} has {what} ({name}), which vit has not")
    if unknown:
        parts = "; ".join(f"{name} is not part of this model" for name in unknown[:3])
        more = f" (and {len(unknown) - 3} more)" if len(unknown) > 3 else ""
        raise WeightsError(f"{source} is not a model that vit knows as {layout}: {parts}{more}")


def _adapters(shapes: Shapes, said: Draft, source: str) -> dict[str, Any]:
    """Returns the rank and the layers of low-rank adapters."""
    found = {name.split(".")[3]: shape[0] for name, shape in shapes.items() if name.endswith(".lora_a")}
    if not found:
        return {}
    if said.get("model.lora.alpha") is None:
        raise WeightsError(
            f"{source} holds low-rank adapters and does not say how much they weigh: {_say('model.lora.alpha=N')}"
        )
    return {
        "model.lora.rank": next(iter(found.values())),
        "model.lora.targets": [layer for layer in LAYERS if layer in found],
    }


def _positions(shapes: Shapes, values: Mapping[str, Any], said: Draft, source: str) -> dict[str, Any]:
    """Returns the image size that makes the position table a square of patches after some prefix slots.

    Where more than one square fits, the one that agrees with what was said, else the first.
    """
    if "pos_embed" not in shapes:
        return {}
    fitting: list[dict[str, Any]] = []
    rows, cls = shapes["pos_embed"][1], int(values["model.tokens.class_token"])
    prefixes = {"all": cls + values["model.tokens.registers"], "class": cls, "patches": 0}
    for slots, prefix in prefixes.items():
        grid = math.isqrt(max(0, rows - prefix))
        if grid and grid * grid == rows - prefix:
            fitting.append(
                {
                    "model.tokens.positions": "learned",
                    "model.tokens.position_slots": slots,
                    "model.image_size": grid * values["model.patch_size"],
                }
            )
    if not fitting:
        raise WeightsError(
            f"{source} has {rows} positions: no square grid of patches after 0 to {prefixes['all']} others, and vit's "
            f"images are square"
        )
    agreeing = [
        found for found in fitting if all(said.get(key, value) == value for key, value in found.items())
    ]
    return (agreeing or fitting)[0]


def _pool(shapes: Shapes, values: Mapping[str, Any], said: Draft) -> dict[str, Any]:
    """Returns the pooling where the names or widths decide it; a class token leaves the choice open."""
    features = shapes.get("pre_logits.weight", shapes.get("head.weight", (0, 0)))[1]
    if "attn_pool.latent" in shapes:
        return {"model.pool": "map"}
    if features == 2 * values["model.embed_dim"]:
        return {"model.pool": "cls_mean"}
    # As timm: the norm after pooling goes with the mean over patches. A class token alone decides nothing.
    mean = not values["model.tokens.class_token"] or values["model.norm.final"] == "after_pool"
    return {"model.pool": "mean"} if mean and said.get("model.pool") is None else {}


def _usual_heads(width: int, source: str, reporter: Reporter) -> int:
    """Returns the heads of published models of a width, else those of 64 features, and tells that they are assumed.

    Raises:
        WeightsError: no width of theirs is usual.
    """
    published = {embed_dim: num_heads for embed_dim, _, num_heads, _ in VARIANTS.values()} | _HEADS
    heads = published.get(width, width // 64 if width % 64 == 0 else 0)
    if not heads:
        possible = ", ".join(str(h) for h in range(1, 33) if width % h == 0)
        raise WeightsError(
            f"{source} does not say how many heads it has, and shapes cannot: "
            f"{_say(f'model.num_heads=N (N one of {possible})')}"
        )
    reporter.note(
        f"{source} does not say how many heads it has: model.num_heads={heads} assumed, as is usual for its width; "
        f"if it has others, say model.num_heads=N"
    )
    return heads


def _said(assignments: Sequence[str] | Draft) -> Draft:
    """Returns what is said about a model, a variant's name filled in."""
    said = assignments if isinstance(assignments, Draft) else override(Draft(values={}), assignments)
    return Draft(values=expand(said.values), origins=said.origins)


def _numbered(spec: ModelSpec) -> tuple[str, ...]:
    """Returns the names of classes of which a file says none."""
    return tuple(str(i) for i in range(spec.num_classes))


def _say(assignment: str) -> str:
    """Returns what to do about what a file cannot tell, whichever command reads it."""
    return f"say {assignment} to vit train or export, else first to vit convert weights"


def _facts(code: Code, said: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
    """Returns what a code fixes."""
    facts = {f"model.{key}": value for key, value in code.facts.items() if key not in code.free}
    if "tokens.positions" in code.free and code.tensors["pos_embed"].names[0] not in shapes:
        facts["model.tokens.positions"] = code.positions
    if code.heads is not None and code.heads in shapes:
        facts["model.num_heads"] = shapes[code.heads][0]
    if code.num_heads is not None:
        facts["model.num_heads"] = said.get("model.num_heads", code.num_heads)
    return facts


def _assumed(draft: Draft, code: Code, source: str, reporter: Reporter) -> Draft:
    """Returns the draft completed by what a code has where nothing says otherwise, which is told."""
    free = {f"model.{key}": value for key, value in code.facts.items() if key in code.free}
    assumed = {key: value for key, value in free.items() if key not in draft.values}
    if assumed:
        values = ", ".join(f"{key}={format_value(value)}" for key, value in assumed.items())
        reporter.note(f"{source}: {values} assumed, as is usual for its names; if it has others, say so")
    return draft.derived(assumed, "what is usual")


def _seen(spec: ModelSpec, code: Code | None) -> Preprocess:
    """Returns how a code saw images; a recipe's defaults where that is not known."""
    data = code or DataSpec()
    return Preprocess(
        fit=data.fit,
        size=math.floor(spec.image_size / (code.cut if code else 1)),
        mean=data.mean,
        std=data.std,
        interpolation=data.interpolation,
    )
