"""I5: the model is ModernBERT, exactly: 22 layers give the logits, loss and gradients of
`transformers.ModernBertForMaskedLM`, in fp32, without dropout, documents packed here and alone
there.

Seen with transformers 5.23 and torch 2.13 on a CPU, relative, over all cases below: logits
0.6 to 2.7e-6, loss at most 2.2e-7, gradient of the worst parameter 1.3 to 5.1e-6. A window of 131
keys in place of 129, the two thetas swapped, or two documents that touch give 6e-2 and more.
"""

import pytest

from tests.parity import compare
from trainer.attention import attention
from trainer.model import ModelConfig, Theta
from trainer.rotary import rotation

EDGES = [1, 2, 63, 64, 65, 66, 128, 129, 130]  # around one side of the window, and both
THETAS = [
    Theta(10_000.0, 10_000.0),  # mmBERT's pretraining
    Theta(160_000.0, 160_000.0),  # its later phases
    Theta(160_000.0, 10_000.0),  # ModernBERT's: tells the two kinds of layer apart
]
HEADS = {"small": 6, "base": 12}


def hold(config: ModelConfig, theta: Theta, lengths: list[int]) -> None:
    found = compare(config, theta, lengths)
    print(found)
    assert found.logits < 1e-5
    assert found.loss < 1e-6
    assert found.gradient < 2e-5, found.of


@pytest.mark.parametrize("theta", THETAS, ids=str)
@pytest.mark.parametrize("size", HEADS)
def test_logits_loss_and_gradients_at_22_layers(size, theta):
    hold(ModelConfig(512, 96, 22, HEADS[size], 288), theta, [*EDGES, 200])


def test_a_document_may_be_8192_tokens_long():
    hold(ModelConfig(512, 32, 4, 2, 48), THETAS[1], [8192, 65])


def wider(q, k, v, cu_seqlens, longest, half_window):
    return attention(q, k, v, cu_seqlens, longest, half_window and half_window + 1)


def touching(q, k, v, cu_seqlens, longest, half_window):
    """The second document begun anew with the first."""
    return attention(q, k, v, cu_seqlens[[0, *range(2, len(cu_seqlens))]], longest, half_window)


def swapped(positions, max_position, head_dim, theta):
    return rotation(positions, max_position, head_dim, THETAS[2].full + THETAS[2].local - theta)


@pytest.mark.parametrize(
    ("name", "wrong"), [("attention", wider), ("attention", touching), ("rotation", swapped)]
)
def test_the_comparison_sees_an_error(monkeypatch, name, wrong):
    monkeypatch.setattr(f"trainer.model.{name}", wrong)
    found = compare(ModelConfig(512, 96, 22, 6, 288), THETAS[2], EDGES)
    print(found)
    assert min(found.logits, found.gradient) > 1e-2


@pytest.mark.slow
@pytest.mark.xdist_group("10 GB")  # one at a time
@pytest.mark.parametrize("theta", THETAS[:2], ids=str)
def test_two_documents_of_full_context_at_22_layers(theta):
    hold(ModelConfig(512, 96, 22, 6, 288), theta, [8191, 65, 8192])


@pytest.mark.slow
@pytest.mark.xdist_group("10 GB")  # one at a time
@pytest.mark.parametrize("theta", THETAS[:2], ids=str)
@pytest.mark.parametrize("size", HEADS)
def test_the_published_sizes(size, theta):
    """Five and nine GB of memory, one to two minutes each on two cores."""
    heads = HEADS[size]
    hold(ModelConfig(256_000, 64 * heads, 22, heads, 1152), theta, EDGES)
