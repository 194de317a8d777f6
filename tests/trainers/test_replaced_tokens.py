"""Replaced-token detection against transformers' two ELECTRAs; whole runs, resumed, exported and gone on from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from groundup.data.masking import mask_for_generator
from groundup.data.sampling import IGNORE, Batch
from groundup.errors import UserError
from groundup.models import Model, ModelConfig, build_model, load_pretrained, save_pretrained
from groundup.models.replaced import attach_generator, generator_config
from groundup.trainers.export import export_run
from groundup.trainers.metrics import read_jsonl
from groundup.trainers.precision import build_precision
from groundup.trainers.replaced_tokens import ReplacedTokenLoss, draw, numbers
from safetensors.torch import load_file
from torch import Tensor

CPU = build_precision("no", torch.device("cpu"))
MASK = 3
SIZES: dict[str, Any] = {"vocab_size": 37, "d_model": 24, "d_embed": 12, "n_layers": 2, "n_heads": 4, "d_ff": 40}
ENCODER: dict[str, Any] = {"causal": False, "norm_slots": ("sum",), "embed_norm": True, "head_norm": "none"}
ENCODER |= {"qkv_bias": True, "out_bias": True, "ffn_bias": True, "n_token_types": 2, "max_seq_len": 16}
ELECTRA = ModelConfig(**SIZES, **ENCODER, norm_eps=1e-12)
Start = Callable[..., Path]


def pair(config: ModelConfig = ELECTRA, size: float = 0.75) -> Model:
    """A discriminator with its generator, no weight at its default."""
    model = build_model(config, "replaced_token", seed=0)
    attach_generator(model, generator_config(config, size), seed=1)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=random) * 0.2)
    return model.eval()


def batch_of(rows: int, seed: int = 0, padded: bool = True) -> Batch:
    """Rows of 11 tokens with some masked, the second row padded."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 37, (rows, 11), generator=random)
    mask = torch.ones_like(ids)
    if padded:
        mask[1::2, 7:] = 0
    chosen = (torch.rand(rows, 11, generator=random) < 0.4) & mask.bool()
    chosen[:, 0] = True
    return Batch(torch.where(chosen, MASK, ids), torch.where(chosen, ids, IGNORE), attention_mask=mask)


def test_the_loss_and_its_gradients_are_those_of_transformers(tmp_path: Path):
    """ElectraForMaskedLM and ElectraForPreTraining with their embeddings made one, told what was drawn here."""
    import transformers

    ours, batch = pair(), batch_of(3)
    assert ours.generator is not None
    save_pretrained(ours, tmp_path / "discriminator")
    save_pretrained(ours.generator, tmp_path / "generator")
    theirs: Any = transformers.ElectraForPreTraining.from_pretrained(tmp_path / "discriminator").eval()
    generator: Any = transformers.ElectraForMaskedLM.from_pretrained(tmp_path / "generator").eval()
    generator.electra.embeddings = theirs.electra.embeddings
    generator.generator_lm_head.weight = theirs.electra.embeddings.word_embeddings.weight

    objective = ReplacedTokenLoss(ours, CPU, chunk=4, weight=50.0)
    seen: list[Tensor] = []
    hidden_states = ours.hidden_states

    def watched(**inputs: Any) -> Tensor:
        seen.append(inputs["input_ids"])
        return hidden_states(**inputs)

    objective.begin([batch])
    targets = objective.targets(batch)
    total = objective.backward(batch, watched, 1 / targets)

    masked = batch.labels != IGNORE
    original = torch.where(masked, batch.labels, batch.input_ids)
    (filled,) = seen
    assert torch.equal(filled[~masked], batch.input_ids[~masked])
    assert (filled[masked] != original[masked]).any()
    given = {"attention_mask": batch.attention_mask}
    first = generator(input_ids=batch.input_ids, labels=batch.labels, **given).loss
    second = theirs(input_ids=filled, labels=(filled != original).long(), **given).loss
    loss = first + 50.0 * second
    loss.backward()
    assert (total / targets).item() == pytest.approx(loss.item(), rel=1e-5)

    # Gradients saved in the weights' place: transformers' names for both.
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(parameter.grad if parameter.grad is not None else torch.zeros_like(parameter))
    save_pretrained(ours, tmp_path / "a")
    save_pretrained(ours.generator, tmp_path / "b")
    compared = 0
    for model, folder in ((theirs, "a"), (generator, "b")):
        found = load_file(tmp_path / folder / "model.safetensors")
        for name, parameter in model.named_parameters():
            if name in found and parameter.grad is not None:
                torch.testing.assert_close(
                    found[name], parameter.grad, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
                )
                compared += 1
    assert compared > 80


def test_the_embeddings_are_one_and_the_rest_is_two():
    """One table, one set of positions, types and norm; the projection to each width, blocks and heads apart."""
    model = pair()
    assert model.generator is not None
    names = [name for name, _ in model.named_parameters()]
    assert len(names) == len(set(names))
    shared = {"tokens", "positions", "types", "norm"}
    of_generator = [name for name in names if name.startswith("generator.")]
    assert {name.split(".")[2] for name in of_generator if name.startswith("generator.embedder.")} == {"project"}
    assert shared <= {name.split(".")[1] for name in names if name.startswith("embedder.")}
    assert model.generator.head.get_submodule("out").get_parameter("weight") is model.embedder.tokens.weight
    assert (model.generator.config.d_model, model.generator.config.n_heads) == (18, 3)


@pytest.mark.parametrize(
    ("size", "heads", "width", "d_ff"),
    [(0.25, 1, 64, 256), (1 / 3, 1, 64, 256), (0.5, 2, 128, 512), (1.0, 4, 256, 1024)],
)
def test_a_generator_is_narrower_and_as_deep(size: float, heads: int, width: int, d_ff: int):
    """google/electra-small: 256 wide of 4 heads, its generator 64 of one."""
    sizes = {"vocab_size": 99, "d_model": 256, "d_embed": 128, "n_layers": 12, "n_heads": 4, "d_ff": 1024}
    config = generator_config(ModelConfig(**sizes, **ENCODER), size)
    assert (config.n_heads, config.d_model, config.d_ff) == (heads, width, d_ff)
    assert (config.n_layers, config.d_embed, config.head_dim) == (12, 128, 64)
    with pytest.raises(UserError, match="generator_size is 0"):
        generator_config(config, 0.0)


def test_a_window_gives_one_gradient_however_it_is_cut():
    """Ragged rows in eights, fours and ones: the same tokens are drawn for them."""
    model, whole = pair(), batch_of(8)
    objective = ReplacedTokenLoss(model, CPU, chunk=5, seed=3)
    assert whole.attention_mask is not None
    expected: dict[str, Tensor] = {}
    for size in (8, 4, 1):
        window = [
            Batch(
                *(t[i : i + size] for t in (whole.input_ids, whole.labels)),
                attention_mask=whole.attention_mask[i : i + size],
            )
            for i in range(0, 8, size)
        ]
        model.zero_grad()
        objective.begin(window)
        targets = sum(map(objective.targets, window))
        total = sum(objective.backward(b, model.hidden_states, 1 / targets).item() for b in window) / targets
        if not expected:
            expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
            first = total
        assert total == pytest.approx(first, rel=1e-5)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-4)


def test_tokens_are_drawn_from_the_generators_distribution():
    """Over rows of few different tokens, and over the places of one long row; by chunks and in order."""
    model = pair()
    objective = ReplacedTokenLoss(model, CPU, chunk=999)
    state = torch.randn(1, 18, generator=torch.Generator().manual_seed(1))
    ids = torch.cartesian_prod(*[torch.arange(5, 9)] * 7)  # (4^7, 7)
    for batch in (Batch(ids, torch.full_like(ids, 5)), Batch(ids.view(1, -1), torch.full((1, ids.numel()), 5))):
        by, drawn = numbers(batch, seed=0), list[Tensor]()
        assert by.dtype == torch.int64
        assert 0 <= int(by.min()) < 2**16
        assert 2**30 - 2**16 < int(by.max()) < 2**30
        with torch.no_grad():
            drawing = objective._drawing(drawn, by)
            logits = torch.cat([drawing(state.expand(count, -1)) for count in (50_000, len(by) - 50_000)])
        share = torch.bincount(torch.cat(drawn), minlength=37) / len(by)
        expected = logits[0].softmax(-1)
        torch.testing.assert_close(share, expected, atol=5 * (0.25 / len(by)) ** 0.5, rtol=0)
        assert (share > 0.05).sum() > 1
        near = torch.corrcoef(torch.stack([by[:-1], by[1:]]).float())[0, 1]
        assert abs(near.item()) < 5 / len(by) ** 0.5


def test_what_is_drawn_hangs_on_row_place_and_seed():
    ids = torch.randint(5, 37, (6, 9), generator=torch.Generator().manual_seed(0))
    batch = Batch(ids, ids.clone())
    by = numbers(batch, 1).view(6, 9)
    assert torch.equal(numbers(Batch(ids[2:4], ids[2:4]), 1).view(2, 9), by[2:4])
    padded = Batch(*[torch.nn.functional.pad(ids, (0, 3), value=0)] * 2, attention_mask=torch.ones(6, 12).long())
    padded.attention_mask[:, 9:] = 0  # pyright: ignore[reportOptionalSubscript]
    assert torch.equal(numbers(padded, 1).view(6, 12)[:, :9], by)
    other = ids.clone()
    other[:, 4] += 1
    assert not (numbers(Batch(other, ids), 1).view(6, 9) == by).any()
    assert not (numbers(batch, 2).view(6, 9) == by).any()
    assert len(by.unique()) == by.numel()


def test_the_share_a_number_falls_on():
    """Whole shares, one of them empty; the ends of each, and what is not finite still gives an id."""
    logits = torch.tensor([0.25, 0.0, 0.5, 0.25]).log().expand(6, -1)
    quarter = 2**28
    near = 1000  # softmax rounds
    by = torch.tensor([0, quarter - near, quarter + near, 3 * quarter - near, 3 * quarter + near, 4 * quarter - 1])
    assert draw(logits, by).tolist() == [0, 0, 2, 2, 3, 3]
    assert draw(torch.full((2, 5), torch.nan), by[:2]).max() < 5


def test_held_out_numbers_are_the_same_each_time():
    model, some = pair(), [batch_of(3, seed) for seed in range(3)]
    objective = ReplacedTokenLoss(model, CPU, chunk=7)
    before = torch.get_rng_state()
    a, b = (objective.evaluate(some, lambda: False) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert a is not None
    assert b is not None
    assert a | {"seconds": 0} == b | {"seconds": 0}
    assert a["loss"] == pytest.approx(a["generator_loss"] + 50 * a["discriminator_loss"])
    assert a["tokens"] == sum(int(x.attention_mask.sum()) for x in some if x.attention_mask is not None)
    assert 0 < a["replaced_share"] < 0.5
    assert objective.evaluate(some, lambda: True) is None
    assert "right on" in objective.describe(a)


def test_padding_is_what_follows_the_last_target():
    ids = torch.arange(5, 15)[None].repeat(2, 1)
    labels = ids + 1
    labels[0, 3] = labels[0, 6:] = IGNORE  # a document ends at 3; the text at 6
    given: dict[str, Any] = {"ratio": 0.5, "mask_id": MASK, "vocab_size": 37, "special": (), "seed": 1, "index": 0}
    out = mask_for_generator(Batch(ids, labels), **given)
    assert out.attention_mask is not None
    assert out.attention_mask.tolist() == [[1] * 7 + [0] * 3, [1] * 10]
    chosen = out.labels != IGNORE
    assert (out.input_ids[chosen] == MASK).all()
    assert torch.equal(out.input_ids[~chosen], ids[~chosen])
    assert not (chosen & (out.attention_mask == 0)).any()
    assert mask_for_generator(Batch(ids, ids + 1), **given).attention_mask is None


# --- whole runs --------------------------------------------------------------------------------------------------


@pytest.fixture
def electra(tmp_path: Path) -> Path:
    """A tiny ELECTRA discriminator with a tokenizer that has [MASK]."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    torch.manual_seed(0)
    config = transformers.ElectraConfig(
        vocab_size=64, embedding_size=12, hidden_size=24, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=40, max_position_embeddings=32,
    )  # fmt: skip
    folder = tmp_path / "electra"
    transformers.ElectraForPreTraining(config).save_pretrained(folder)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,"
    pieces = [*special, *letters, "##a", "##d", "##k", "##e", *(f"##{digit}" for digit in "0123456789")]
    inner = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    inner.add_special_tokens(special)
    inner.save(str(folder / "tokenizer.json"))
    words = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    (folder / "tokenizer_config.json").write_text(json.dumps(words | {"tokenizer_class": "ElectraTokenizer"}))
    return folder


RTD = ("trainer.loss_fn=replaced_token", "trainer.generator_size=0.5", "trainer.datasampling=packed")


def test_an_encoder_is_pretrained_from_scratch(electra: Path, start: Start, tmp_path: Path):
    """Random weights of ELECTRA's shape; both are exported, and transformers and we load them and agree."""
    import transformers

    words = ("trainer.max_iters=40", "trainer.optimizer.lr=5e-3", "evaluation.interval=10")
    folder = start("out", f"model={electra}", "init=random", *RTD, *words)
    rows = read_jsonl(folder / "train/metrics/heldout.jsonl")
    assert rows[-1]["generator_loss"] < rows[0]["generator_loss"] - 0.3
    assert rows[-1]["discriminator_loss"] < rows[0]["discriminator_loss"]
    results = json.loads((folder / "training_results.json").read_text())
    assert results["task"] == "replaced_token"
    assert {"generator_loss", "discriminator_accuracy"} <= results["heldout"].keys()

    exported = export_run(folder, tmp_path / "exported")
    ids = torch.arange(4, 24)[None]
    for task, place, kind in (
        ("replaced_token", exported, transformers.ElectraForPreTraining),
        ("masked_lm", exported / "generator", transformers.ElectraForMaskedLM),
    ):
        named = json.loads((place / "config.json").read_text())["architectures"]
        assert named == [kind.__name__]
        theirs, info = kind.from_pretrained(place, output_loading_info=True)
        assert not any(info[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        with torch.no_grad():
            ours = load_pretrained(place, task, dtype="fp32")(ids)
            torch.testing.assert_close(theirs.eval()(ids).logits, ours, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scratch", [True, False])
def test_it_goes_on_to_the_bit(electra: Path, start: Start, scratch: bool):
    """The same after an interruption, dropout and drawn tokens included; weights of both models and their moments."""
    from groundup.trainers.command import main

    words = (f"model={electra}", *RTD, *(["init=random"] if scratch else []))
    whole = start("whole", *words)
    part = start("part", *words, "trainer.max_iters=2", "trainer.lr_decay_iters=4")
    assert main(["--resume", str(part), "trainer.max_iters=4"]) == 0
    for name in ("model", "optimizer"):
        a, b = (load_file(f / "train/weights/last" / f"{name}.safetensors") for f in (whole, part))
        assert a.keys() == b.keys()
        assert any(key.startswith("generator.core.") for key in a)
        for key in a:
            assert torch.equal(a[key], b[key]), key


@pytest.mark.parametrize("loss_fn", ["replaced_token", "masked_lm"])
def test_a_run_is_the_same_however_its_steps_are_cut(electra: Path, start: Start, loss_fn: str):
    """Four rows at a time, two or one: the same tokens are masked, and the same are drawn in their place."""
    words = (f"model={electra}", "init=random", f"trainer.loss_fn={loss_fn}", "trainer.datasampling=packed")
    words += ("--trainer.dropout_schedule.name", "constant", "trainer.effective_batch_size=4", "trainer.max_iters=9")
    text = electra.parent / "few.txt"  # 22 rows: an epoch ends within a step
    text.write_text("\n".join(f"{i} and {i + 1} make {2 * i + 1}." for i in range(24)))
    words += (f"dataset.name={text}", "dataset.val_fraction=0.2")
    found = [start(f"by-{size}", *words, f"trainer.batch_size={size}") for size in (4, 2, 1)]
    losses = [[row["loss"] for row in read_jsonl(folder / "train/metrics/train.jsonl")] for folder in found]
    weights = [load_file(folder / "train/weights/last/model.safetensors") for folder in found]
    for loss, weight in zip(losses[1:], weights[1:], strict=True):
        assert loss == pytest.approx(losses[0], rel=1e-4)
        for name, tensor in weight.items():
            torch.testing.assert_close(
                tensor, weights[0][name], atol=1e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
            )


def test_a_checkpoint_goes_on_and_a_run_too(electra: Path, start: Start):
    """The head of ELECTRA's checkpoint is taken; a run's generator comes along, and its encoder classifies."""
    first = start("first", f"model={electra}", *RTD, "trainer.optimizer.lr=1e-9", "trainer.optimizer.min_lr=0")
    before = load_pretrained(electra, "replaced_token", dtype="fp32").state_dict()
    after = load_file(first / "train/weights/last/model.safetensors")
    for name in ("head.out.weight", "core.layers.1.attn.f.q.weight"):
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0)
    second = start("second", f"model={first}", "trainer.optimizer.lr=1e-9", "trainer.optimizer.min_lr=0")
    assert "loss_fn: replaced_token" in (second / "config.yaml").read_text()
    again = load_file(second / "train/weights/last/model.safetensors")
    assert again.keys() == after.keys()
    torch.testing.assert_close(
        again["generator.head.dense.weight"], after["generator.head.dense.weight"], atol=1e-6, rtol=0
    )


def test_a_described_encoder_and_one_of_another_family(start: Start, electra: Path, tmp_path: Path):
    """Any bidirectional model; a BERT becomes an ELECTRA whose embeddings are as wide as it is."""
    import transformers

    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
    config = transformers.BertConfig(vocab_size=64, max_position_embeddings=32, **sizes)
    bert = tmp_path / "bert"
    transformers.BertForMaskedLM(config).save_pretrained(bert)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bert / name).write_bytes((electra / name).read_bytes())
    folder = start("bert", f"model={bert}", *RTD)
    exported = export_run(folder, tmp_path / "exported")
    transformers.ElectraForPreTraining.from_pretrained(exported)
    transformers.ElectraForMaskedLM.from_pretrained(exported / "generator")
    described = """model.core_model_type=generic model.num_layers=1 model.hidden_dim=12 model.context_window=16
        model.ffn.ffn_type=generic model.ffn.ffn_dim=20 model.attn.num_kv_heads=2 model.attn.attn_type=bidirectional
        model.positional_encoding_type=rope model.tokenizer_type=byte"""
    start("described", *described.split(), *RTD)


def test_what_does_not_go_with_it(electra: Path):
    from groundup.configs.schema import load_config

    def fails(*words: str) -> str:
        with pytest.raises(UserError) as error:
            load_config(None, ["dataset.name=stdlib", "device=cpu", *words])
        return str(error.value)

    assert "is a decoder: replaced_token needs what comes after" in fails(
        "model=gpt2", "trainer.loss_fn=replaced_token"
    )
    assert "only loss_fn replaced_token has a generator" in fails(f"model={electra}", "trainer.generator_size=0.5")
    assert "only loss_fn replaced_token has a generator" in fails(f"model={electra}", "trainer.discriminator_weight=5")
    given = (f"model={electra}", "trainer.loss_fn=replaced_token")
    assert "some width" in fails(*given, "trainer.generator_size=0")
    assert "trains a whole encoder" in fails(*given, "fine_tuning.method=lora")
