"""Train the tiny model and write it to a folder that vLLM serves.

``python train.py OUT [--steps N] [--language sycl|cuda]``, with a Python that has torch, transformers and
tokenizers (vLLM's has). No network. The model is a Mistral with a sliding window: however long a prompt is,
it sees only the end, so a prompt of thousands of tokens disturbs it no more than a short one. It has learned
one answer in many variants (``answers.py``), and reads nothing of the task.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parent))
from answers import random_answer

VOCABULARY = 1536
WINDOW = 192  # as far as a plan must look back to see how its kernel is called
PROMPT_TOKENS = 200  # more than the window, so that the model learns where a prompt is cut off
LONGEST = 32_768
BATCH = 4
RATE = 3e-3
SPECIAL = ["<|pad|>", "<|bos|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def prose() -> str:
    """Text to cut prompts from, and to learn a vocabulary from: the standard library and kforge's prompts."""
    library = sorted(Path(os.__file__).parent.glob("*.py"))[:60]
    prompts = sorted((Path(__file__).resolve().parents[2] / "kforge" / "prompts").glob("*.j2"))
    return "\n".join(path.read_text(errors="ignore") for path in [*library, *prompts, *prompts, *prompts])


def tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE with a chat template, trained on ``texts``."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY - 2, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        ),
    )
    # Not special: vLLM drops special tokens from its text, and its reasoning parser would miss the end.
    thinking = [AddedToken(tag, special=False, normalized=False) for tag in ("<think>", "</think>")]
    bpe.add_tokens(thinking)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<|bos|>", eos_token="<|im_end|>", pad_token="<|pad|>"
    )
    fast.chat_template = TEMPLATE
    return fast


def model(fast: PreTrainedTokenizerFast) -> MistralForCausalLM:
    """About 0.7 million parameters, three layers that look back over the window each."""
    return MistralForCausalLM(
        MistralConfig(
            sliding_window=WINDOW,
            vocab_size=len(fast),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=32,
            max_position_embeddings=LONGEST,
            bos_token_id=fast.bos_token_id,
            eos_token_id=fast.eos_token_id,
            pad_token_id=fast.pad_token_id,
            tie_word_embeddings=True,
        )
    )


def batches(
    fast: PreTrainedTokenizerFast, text: str, language: str, rng: random.Random
) -> Iterator[dict[str, torch.Tensor]]:
    """Endless batches: the end of some prompt, which is not learned, and an answer, which is."""

    def ids(piece: str) -> list[int]:
        return list(fast(piece, add_special_tokens=False)["input_ids"])

    def prompt() -> list[int]:
        length = rng.randrange(5, 500)
        start = rng.randrange(len(text) - length)
        message = [{"role": "user", "content": text[start : start + length]}]
        rendered = fast.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        return ids(rendered)[-PROMPT_TOKENS:]

    while True:
        rows = [(prompt(), ids(random_answer(rng, language) + "<|im_end|>")) for _ in range(BATCH)]
        longest = max(len(asked) + len(said) for asked, said in rows)
        fill = [longest - len(asked) - len(said) for asked, said in rows]
        yield {
            "input_ids": torch.tensor([a + s + [0] * n for (a, s), n in zip(rows, fill, strict=True)]),
            "attention_mask": torch.tensor(
                [[1] * (len(a) + len(s)) + [0] * n for (a, s), n in zip(rows, fill, strict=True)]
            ),
            "labels": torch.tensor(
                [[-100] * len(a) + s + [-100] * n for (a, s), n in zip(rows, fill, strict=True)]
            ),
        }


def main() -> None:
    """Train, say what came of it, and write the folder."""
    parser = argparse.ArgumentParser(description="Train a tiny model that answers kforge's prompts.")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--language", choices=("sycl", "cuda"), default="sycl")
    arguments = parser.parse_args()
    started = time.monotonic()
    rng = random.Random(0)
    torch.manual_seed(0)
    # Matrices this small gain little from a second thread, and lose much on a machine where others work.
    torch.set_num_threads(1)
    text = prose()
    lessons = [random_answer(rng, arguments.language) for _ in range(400)]
    fast = tokenizer(iter([text, *lessons]))
    tiny = model(fast)
    optimizer = torch.optim.AdamW(tiny.parameters(), lr=RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=arguments.steps, pct_start=0.1
    )
    loss = torch.zeros(())
    for step, batch in zip(
        range(arguments.steps), batches(fast, text, arguments.language, rng), strict=False
    ):
        loss = tiny(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tiny.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 0:
            print(f"step {step}: loss {loss.item():.3f}, {time.monotonic() - started:.0f} s", flush=True)
    tiny.to(torch.bfloat16).save_pretrained(arguments.out)
    fast.save_pretrained(arguments.out)
    size = sum(parameter.numel() for parameter in tiny.parameters())
    took = f"{time.monotonic() - started:.0f} s ({time.process_time():.0f} s of processor)"
    trained = f"{size} parameters, {arguments.steps} steps, {took}"
    print(f"{arguments.out}: loss {loss.item():.4f}, {trained}")


if __name__ == "__main__":
    main()
