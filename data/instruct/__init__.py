"""Instructions and conversations as rows of tokens, of which the assistant's are trained.

conversation.py  what every format becomes: messages in order, checked
formats.py       alpaca and sharegpt rows
oasst.py         Open-Assistant's trees and flat messages
custom.py        any other columns, by templates of the configuration
templates.py     the prompts for tokenizers without a chat template
chat.py          a conversation as pieces of text: what is asked, and what is to be answered
rows.py          pieces -> ids and labels, too long ones cut, dropped or refused
table.py         the table of lengths that is printed before training
load.py          all of it for a run: `load_instructions`
reply.py         what a trained model answers
"""
