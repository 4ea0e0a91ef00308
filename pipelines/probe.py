"""A quality probe: logistic regression on what an encoder makes of a text, as FineWeb2-HQ does.

    python -m pipelines.probe train ENCODER --good FILES ... --bad FILES ... --out DIR
    python -m pipelines.probe score DIR FILES ...

    x(text)      mean of the encoder's last hidden states over the text's first 512 tokens
    score(text)  1 / (1 + exp(-(w . (x - mean) / scale + b)))          in (0, 1); more is better

In: any `transformers` encoder, a folder or a hub name, and texts that are good and bad in the
user's eyes. Out: a folder with probe.json (encoder, its digest, what it was trained on) and
probe.safetensors (w, b, mean, scale). Scores are those of one CPU thread's arithmetic, a text at
a time, so a text has the same score whatever its neighbours are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from pipelines.texts import texts_of
from schemas.errors import UserError
from schemas.ledger import Frozen
from schemas.store import exists, join, read_bytes, write_bytes, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

F32 = npt.NDArray[np.float32]

MOST_TOKENS = 512  # of a text
LEAST_TEXTS = 8  # of each kind
REGULARISATION = 1.0  # scikit-learn's C


class ProbeFile(Frozen):
    """`probe.json`."""

    format_version: int = 1
    encoder: str  # a folder or a hub name
    encoder_digest: str  # of its weights
    num_good: int
    num_bad: int
    accuracy: float  # on a fifth of the texts that it was not trained on
    hidden_size: int


@dataclass(frozen=True)
class Probe:
    """A trained probe; `digest` is of all that decides its scores."""

    file: ProbeFile
    weight: F32  # [hidden]
    bias: float
    mean: F32  # [hidden]
    scale: F32  # [hidden]

    def scores(self, texts: Sequence[str]) -> list[float]:
        """A score in (0, 1) for each text; raises UserError where the encoder was changed."""
        x = (self._encoder.embed(texts) - self.mean) / self.scale
        logits = (x.astype(np.float64) * self.weight).sum(axis=1) + self.bias
        return [float(1 / (1 + np.exp(-logit))) for logit in np.clip(logits, -700, 700)]

    @property
    def digest(self) -> str:
        content = json.dumps(self.file.model_dump(), sort_keys=True).encode()
        return hashlib.sha256(content + self._tensors).hexdigest()

    @cached_property
    def _encoder(self) -> Encoder:
        encoder = Encoder(self.file.encoder)
        if encoder.digest != self.file.encoder_digest:
            raise UserError(
                f"the probe was trained on {self.file.encoder} of weights "
                f"{self.file.encoder_digest[:16]}, which now has {encoder.digest[:16]}; put those "
                "weights back or train the probe again"
            )
        return encoder

    @property
    def _tensors(self) -> bytes:
        return save_tensors(
            {
                "weight": self.weight,
                "bias": np.array([self.bias], np.float64),
                "mean": self.mean,
                "scale": self.scale,
            }
        )

    def save(self, folder: str) -> None:
        """Write both files, probe.json last; any URL."""
        write_bytes(join(folder, "probe.safetensors"), self._tensors)
        write_json(join(folder, "probe.json"), self.file.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: str) -> Probe:
        """Raises UserError where there is no probe."""
        if not exists(join(folder, "probe.json")):
            raise UserError(
                f"{folder} holds no probe.json; train a probe with "
                "`python -m pipelines.probe train ENCODER --good FILES --bad FILES --out DIR`"
            )
        try:
            file = ProbeFile.model_validate_json(read_bytes(join(folder, "probe.json")))
        except ValidationError as error:
            raise UserError(f"{folder}/probe.json is no probe; train it again") from error
        tensors = load_tensors(read_bytes(join(folder, "probe.safetensors")))
        bias = float(tensors["bias"][0])
        return cls(file, tensors["weight"], bias, tensors["mean"], tensors["scale"])


class Encoder:
    """Texts to mean-pooled hidden states, on one CPU thread, in fp32.

    Raises UserError for a name that `transformers` cannot load.
    """

    def __init__(self, name: str) -> None:
        from transformers import AutoModel, AutoTokenizer

        try:
            self._tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name)
            self._model: PreTrainedModel = AutoModel.from_pretrained(name, dtype="float32").eval()
        except (OSError, ValueError) as error:
            raise UserError(
                f"{name} is no encoder that transformers can load "
                f"({str(error).splitlines()[0]}); give a folder or a hub name of one"
            ) from error

    @cached_property
    def digest(self) -> str:
        """sha256 of its weights, by name, and of its tokenizer."""
        found = hashlib.sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            found.update(name.encode())
            found.update(tensor.contiguous().numpy().tobytes())
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        told = json.loads(backend.to_str()) if backend else self._tokenizer.get_vocab()
        for setting in ("truncation", "padding"):  # of the last call
            told.pop(setting, None)
        found.update(json.dumps(told, sort_keys=True).encode())
        return found.hexdigest()

    def embed(self, texts: Sequence[str]) -> F32:
        """[texts, hidden]."""
        import torch

        rows = []
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # sums in another order would be other scores
        try:
            with torch.inference_mode():
                for text in texts:
                    batch = self._tokenizer(
                        text or " ", truncation=True, max_length=MOST_TOKENS, return_tensors="pt"
                    )
                    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
                    states = self._model(**inputs).last_hidden_state
                    rows.append(states[0].mean(dim=0).numpy())
        finally:
            torch.set_num_threads(threads)
        return np.array(rows, np.float32)


def train(encoder: str, good: Sequence[str], bad: Sequence[str]) -> Probe:
    """Fit a probe; a fifth of the texts is kept back first, to tell its accuracy.

    Raises UserError for too few texts of a kind, or where scikit-learn is missing.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise UserError(
            "training a probe needs scikit-learn; `pip install scikit-learn`, or install mmbert "
            "with its extra `probe`"
        ) from error
    for name, texts in (("good", good), ("bad", bad)):
        if len(texts) < LEAST_TEXTS:
            raise UserError(
                f"--{name}: {len(texts)} texts are too few to learn from; give {LEAST_TEXTS} or "
                "more, better thousands"
            )
    model = Encoder(encoder)
    x = model.embed([*good, *bad])
    y = np.repeat([1, 0], [len(good), len(bad)])
    mean = x.mean(axis=0)
    scale = np.maximum(x.std(axis=0), 1e-6)
    z = (x - mean) / scale
    held = np.arange(y.size) % 5 == 4

    def fit(rows: npt.NDArray[np.bool_]) -> LogisticRegression:
        return LogisticRegression(
            C=REGULARISATION, max_iter=2000, class_weight="balanced", solver="lbfgs"
        ).fit(z[rows].astype(np.float64), y[rows])

    accuracy = float(fit(~held).score(z[held], y[held]))
    fitted = fit(np.ones(y.size, bool))
    return Probe(
        ProbeFile(
            encoder=encoder,
            encoder_digest=model.digest,
            num_good=len(good),
            num_bad=len(bad),
            accuracy=round(accuracy, 4),
            hidden_size=x.shape[1],
        ),
        weight=fitted.coef_[0].astype(np.float32),
        bias=float(fitted.intercept_[0]),
        mean=mean,
        scale=scale,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.probe")
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="good and bad texts to a probe")
    training.add_argument("encoder", help="a transformers folder or a hub name")
    training.add_argument("--good", nargs="+", required=True, help="files or folders of text")
    training.add_argument("--bad", nargs="+", required=True, help="files or folders of text")
    training.add_argument("--out", required=True, help="the folder to write")
    scoring = commands.add_parser("score", help="a line a text: score, place")
    scoring.add_argument("probe", help="a folder that `train` wrote")
    scoring.add_argument("files", nargs="+", help="files or folders of text")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "train":
            good, bad = ([t.text for t in texts_of(paths)] for paths in (chosen.good, chosen.bad))
            probe = train(chosen.encoder, good, bad)
            probe.save(chosen.out)
            print(f"{chosen.out}: accuracy {probe.file.accuracy:.3f} on a fifth of the texts")
        else:
            probe = Probe.load(chosen.probe)
            for text in texts_of(chosen.files):
                print(f"{probe.scores([text.text])[0]:.6f}\t{text.language}\t{text.place}")
    except UserError as error:
        parser.exit(2, f"{' '.join(str(error).split())}\n")


if __name__ == "__main__":
    main()
