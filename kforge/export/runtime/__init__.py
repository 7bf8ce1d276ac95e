"""The files that every export carries, as they are: they import torch and each other, and never kforge."""
