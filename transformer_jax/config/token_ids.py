"""The token ids that every vocabulary begins with.

There is no BOS: the decoder starts from PAD, whose embedding is the zero vector.
"""

PAD_ID = 0
EOS_ID = 1
UNK_ID = 2
