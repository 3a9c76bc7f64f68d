"""Every hyperparameter of the system, declared once (floor 1; imports floor 0; no jax).

A field's name is its flag's name, and its default is the paper's base model (Table 3, first row)
wherever the paper says. The four groups make one `Config`; names are unique over the groups, so
flags and config.json are flat.

    setting        declares one hyperparameter     lists        comma-separated settings
    model, data,   the groups                      checks       contradictions between settings
    train, decode                                  new_runs     checks for new runs only
    experiment     the whole `Config`              token_ids    PAD, EOS, UNK
    kept           settings of `init_from`'s run that a new run keeps
"""

from transformer_jax.config.data import PAPER_TOKENS_PER_UPDATE, DataConfig
from transformer_jax.config.decode import DecodeConfig
from transformer_jax.config.experiment import PATHS, Config, fields, groups
from transformer_jax.config.kept import check_kept, default_settings, kept_settings
from transformer_jax.config.lists import parse_sections, split_list, whole_number
from transformer_jax.config.model import ModelConfig
from transformer_jax.config.new_runs import check_sums, refuse_unread, unread_warnings
from transformer_jax.config.token_ids import EOS_ID, PAD_ID, UNK_ID
from transformer_jax.config.train import TrainConfig

__all__ = [
  "EOS_ID",
  "PAD_ID",
  "PAPER_TOKENS_PER_UPDATE",
  "PATHS",
  "UNK_ID",
  "Config",
  "DataConfig",
  "DecodeConfig",
  "ModelConfig",
  "TrainConfig",
  "check_kept",
  "check_sums",
  "default_settings",
  "fields",
  "groups",
  "kept_settings",
  "parse_sections",
  "refuse_unread",
  "split_list",
  "unread_warnings",
  "whole_number",
]
