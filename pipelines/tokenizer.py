"""The tokenizer: read one or train one, seal it, put it into the store.

In: the recipe's [tokenizer]. Out: `tokenizers/<digest>/` with tokenizer.json and seal.json.
Trained ones are SentencePiece BPE with byte fallback in mmBERT's layout of special ids (pad 0,
eos 1, bos 2, unk 3, mask 4), languages sampled by the temperature rule of the mixtures; they are
kept as `tokenizers` files, which are the truth for ids everywhere.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE

from pipelines.encode import as_text
from pipelines.fingerprint import fingerprints
from pipelines.inventory import Origin
from pipelines.read import reader_of
from pipelines.record import FileRead
from schemas import seal as seals
from schemas.digest import Json, content_id
from schemas.errors import UserError
from schemas.progress import Progress, silent
from schemas.recipe import Recipe
from schemas.seal import Seal, SpecialIds
from schemas.store import Store, exists, join, read_bytes, write_json
from schemas.text import TrainTokenizer

SPACE = "\u2581"
STEP_VERSION = 3


def prepare(
    recipe: Recipe, store: Store, origins: Sequence[Origin], progress: Progress = silent
) -> Seal:
    """The recipe's tokenizer, sealed and in the store; trained only when it never was before."""
    settings = recipe.tokenizer
    if settings.path is not None:
        sealed, data = read(settings.path, settings.special)
        seals.save(store.url, sealed, data)
        return sealed
    return train(recipe, store, origins, progress)


def load(store: Store, sealed: Seal) -> Tokenizer:
    """The tokenizer of a seal, set to encode text that looks like a special token as text."""
    return as_text(seals.load(seals.seal_folder(store.url, sealed.digest))[1])


def read(path: str, special: SpecialIds) -> tuple[Seal, bytes]:
    """A tokenizer that exists, and its seal; UserError for what is none or has other specials."""
    if exists(join(path, "tokenizer.json")):
        path = join(path, "tokenizer.json")
    if not exists(path):
        raise UserError(
            f"tokenizer.path: {path} does not exist; give a tokenizer.json, a SentencePiece .model "
            "or a folder that holds a tokenizer.json, or replace path by a [tokenizer.train] table"
        )
    data = read_bytes(path)
    if path.endswith(".model"):
        data = from_sentencepiece(data, special).to_str().encode()
    try:
        sealed = seals.seal(data, special, origin=path.rsplit("/", 1)[-1])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"tokenizer.path: {path} is no tokenizer that the `tokenizers` library wrote; "
            "give a tokenizer.json or a SentencePiece .model"
        ) from error
    seals.require_special(data, special, path)
    return sealed, data


def find(recipe: Recipe, store: Store, origins: Sequence[Origin]) -> Seal | None:
    """The recipe's tokenizer if it need not be trained any more, else None."""
    if recipe.tokenizer.path is not None:
        return read(recipe.tokenizer.path, recipe.tokenizer.special)[0]
    memo = _memo(recipe, store, origins)
    if not exists(memo):
        return None
    folder = seals.seal_folder(store.url, json.loads(read_bytes(memo))["digest"])
    return seals.load(folder)[0]


def train(
    recipe: Recipe, store: Store, origins: Sequence[Origin], progress: Progress = silent
) -> Seal:
    """Train a tokenizer on a sample of the origins, or return the one trained alike before."""
    assert recipe.tokenizer.train is not None
    found = find(recipe, store, origins)
    if found is not None:
        return found
    text = _training(origins)
    if not text:
        raise UserError(
            "tokenizer.train: no source of the recipe has text to learn from; read a tokenizer "
            "with tokenizer.path or add a source of raw text"
        )
    model = _train_sentencepiece(recipe, text, recipe.tokenizer.train, progress)
    data = from_sentencepiece(model, recipe.tokenizer.special).to_str().encode()
    sealed = seals.seal(data, recipe.tokenizer.special, origin="trained")
    seals.save(store.url, sealed, data)
    write_json(_memo(recipe, store, origins), {"digest": sealed.digest})
    return sealed


def _training(origins: Sequence[Origin]) -> list[Origin]:
    return [o for o in origins if any(f.split == "train" for f in o.files)]


def _memo(recipe: Recipe, store: Store, origins: Sequence[Origin]) -> str:
    """Where the digest of a tokenizer stands, under the id of all that decides its training."""
    settings = recipe.tokenizer.train
    assert settings is not None
    files = {o: [f for f in o.files if f.split == "train"] for o in _training(origins)}
    digests = fingerprints(store, (f for found in files.values() for f in found))
    wanted: Json = {
        "step": STEP_VERSION,
        "sentencepiece": sentencepiece.__version__,
        "tokenizers": tokenizers.__version__,
        "settings": settings.model_dump(),
        "special": recipe.tokenizer.special.model_dump(),
        "text": [
            [o.source, o.language, *(digests[f.url] for f in found), *_place_of_text(recipe, o)]
            for o, found in files.items()
        ],
    }
    return join(store.url, "tokenizers", f"trained-{content_id(wanted)}.json")


def _place_of_text(recipe: Recipe, origin: Origin) -> list[Json]:
    """Where the recipe says that the text stands, if it can say."""
    source = recipe.sources[origin.source.split("/")[0]]
    return [{"text": source.fields.text}] if source.format == "documents" else []


def _train_sentencepiece(
    recipe: Recipe, origins: Sequence[Origin], settings: TrainTokenizer, progress: Progress
) -> bytes:
    sink = io.BytesIO()
    special = recipe.tokenizer.special
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=_sample(recipe, origins, settings, progress),
            model_writer=sink,
            model_type="bpe",
            vocab_size=settings.vocab_size,
            character_coverage=settings.character_coverage,
            byte_fallback=True,
            split_digits=True,
            allow_whitespace_only_pieces=True,
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            normalization_rule_name="identity",
            max_sentence_length=1 << 20,
            pad_id=special.pad,
            eos_id=special.eos,
            bos_id=special.bos,
            unk_id=special.unk,
            pad_piece="<pad>",
            eos_piece="<eos>",
            bos_piece="<bos>",
            control_symbols=["<mask>"],
            hard_vocab_limit=True,
            num_threads=1,  # more would make the merges depend on the machine
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        too_small = "required_chars" in str(error)  # bytes, characters and marks are pieces, too
        raise UserError(
            f"tokenizer.train: SentencePiece cannot make {settings.vocab_size:,} pieces from this "
            f"text ({str(error).strip().splitlines()[-1][:160]}); "
            f"{'raise' if too_small else 'lower'} tokenizer.train.vocab_size or give "
            f"{'text of fewer scripts' if too_small else 'more text'}"
        ) from error
    return sink.getvalue()


def _sample(
    recipe: Recipe, origins: Sequence[Origin], settings: TrainTokenizer, progress: Progress
) -> Iterator[str]:
    """Lines of text, bytes of a language ~ (its bytes on disk) ** tau; nothing is repeated."""
    sizes: dict[str, float] = {}
    for origin in origins:
        sizes[origin.code] = sizes.get(origin.code, 0.0) + origin.size_bytes
    weights = {code: size**settings.tau for code, size in sizes.items()}
    budget = settings.sample_megabytes * 1e6 / sum(weights.values())
    for done, origin in enumerate(origins):
        progress("tokenizer: text", done, len(origins))
        left = budget * weights[origin.code] * origin.size_bytes / sizes[origin.code]
        for text in _texts(recipe, origin):
            for line in text.split("\n"):
                if line.strip():
                    yield line[:4000]
            left -= len(text.encode(errors="ignore"))
            if left <= 0:
                break
    progress("tokenizer: merges", len(origins), len(origins))


def _texts(recipe: Recipe, origin: Origin) -> Iterator[str]:
    source = recipe.sources[origin.source.split("/")[0]]
    reader = reader_of(source.format, source.fields)
    for file in origin.files:
        if file.split == "train":
            for record in reader(file, FileRead()):
                if record.text is not None:
                    yield record.text.replace("\x00", "")


def from_sentencepiece(model: bytes, special: SpecialIds) -> Tokenizer:
    """A SentencePiece BPE model with byte fallback as a `tokenizers` tokenizer of equal ids.

    Raises UserError for a model that is no BPE, has no byte pieces, or other special ids.
    """
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = range(processor.get_piece_size())
    pieces = [processor.id_to_piece(i) for i in ids]
    # SentencePiece scores a piece of BPE by its place: 0, -1, -2, ...
    normal = [i for i in ids if not (processor.is_byte(i) or i in special.ids())]
    normal = [i for i in normal if not (processor.is_control(i) or processor.is_unused(i))]
    by_place = all(processor.get_score(i) == -place for place, i in enumerate(normal))
    if not by_place or not any(processor.is_byte(i) for i in ids):
        raise UserError(
            "the SentencePiece model is not BPE with byte fallback; train one with "
            "--model_type=bpe --byte_fallback, or with `mmbert tokenizer train`"
        )
    rank = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(
        BPE(
            vocab=rank,
            merges=_merges([pieces[i] for i in normal], rank),
            byte_fallback=True,
            fuse_unk=True,
            unk_token=pieces[special.unk],
        )
    )
    replace = normalizers.Replace(" ", SPACE)
    adds_prefix = processor.encode("a", out_type=str)[0].startswith(SPACE)
    tokenizer.normalizer = (
        normalizers.Sequence([normalizers.Prepend(SPACE), replace]) if adds_prefix else replace
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    for i in special.ids():
        # The mask takes the space before it, as the piece of a word does.
        token = AddedToken(pieces[i], special=True, normalized=False, lstrip=i == special.mask)
        tokenizer.add_special_tokens([token])
        assert tokenizer.token_to_id(pieces[i]) == i, (pieces[i], i)
    # For users of the released model; shards hold no special tokens.
    bos, eos = pieces[special.bos], pieces[special.eos]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {bos} $B {eos}",
        special_tokens=[(bos, special.bos), (eos, special.eos)],
    )
    return tokenizer


def _merges(normal: Sequence[str], rank: dict[str, int]) -> list[tuple[str, str]]:
    """BPE merges in order: of the pieces made by one merge, the earlier piece merges first."""
    known = set(normal)
    merges = []
    for piece in normal:
        ways = [
            (rank[piece[:i]], rank[piece[i:]], piece[:i], piece[i:])
            for i in range(1, len(piece))
            if piece[:i] in known and piece[i:] in known
        ]
        merges += [(left, right) for _, _, left, right in sorted(ways)]
    return merges
