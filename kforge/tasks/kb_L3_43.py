"""Causal multi-head self-attention with its projections, as in a small GPT."""

import math

import torch
from torch import nn

TITLE = "Causal self-attention"
FAMILY = "attention"

batch_size = 128
max_seqlen = 1024
seq_len = 512
n_embd = 768
n_head = 8
attn_pdrop = 0.0
resid_pdrop = 0.0

SIZES = {"small": {"batch_size": 4, "max_seqlen": 128, "seq_len": 128, "n_embd": 256}}


class Model(nn.Module):
    """c_proj(softmax(mask(q k^T / sqrt(head size))) v), heads side by side; dropout as given."""

    def __init__(self, n_embd, n_head, attn_pdrop, resid_pdrop, max_seqlen):
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)
        self.attn_dropout = nn.Dropout(attn_pdrop)
        self.resid_dropout = nn.Dropout(resid_pdrop)
        lower = torch.ones(max_seqlen, max_seqlen).tril()
        self.register_buffer("bias", lower[None, None])
        self.n_head = n_head

    def _heads(self, projected):
        batch, length, width = projected.shape
        return projected.view(batch, length, self.n_head, width // self.n_head).transpose(1, 2)

    def forward(self, x):
        length = x.shape[1]
        query, key, value = (self._heads(part) for part in self.c_attn(x).chunk(3, dim=2))
        scores = (query @ key.transpose(-2, -1)) * (1.0 / math.sqrt(query.shape[-1]))
        hidden = self.bias[:, :, :length, :length] == 0
        weights = self.attn_dropout(scores.masked_fill(hidden, -math.inf).softmax(dim=-1))
        mixed = (weights @ value).transpose(1, 2).reshape(x.shape)
        return self.resid_dropout(self.c_proj(mixed))


def get_inputs():
    return [torch.rand(batch_size, seq_len, n_embd)]


def get_init_inputs():
    return [n_embd, n_head, attn_pdrop, resid_pdrop, max_seqlen]
