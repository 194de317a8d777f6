"""Instructions and conversations as rows of tokens, of which the assistant's are trained.

conversation.py  what every format becomes: messages in order, checked
messages.py      a list of messages, in the ways that data sets write them
formats.py       alpaca and sharegpt rows
oasst.py         Open-Assistant's trees and flat messages
custom.py        any other columns, by templates of the configuration
templates.py     the prompts for tokenizers without a chat template
chat.py          a conversation as pieces of text: what is asked, and what is to be answered
choice.py        which template a run's conversations go by
labels.py        pieces -> ids and labels, too long ones cut, dropped or refused
source.py        files, folders or the hub, read and split; `look_at` checks them without a tokenizer
table.py         the table of lengths that is printed before training
load.py          all of it for a run: `load_instructions`
reply.py         what a trained model answers
"""
