"""A model that answers over HTTP (floor 7).

limits     what a request may ask for           queue      requests wait, and share batches
kinds      values of JSON: checked, described   routes     paths, errors and headers
messages   the requests and the answers         openapi    the description of all of it
engine     the model: searches and attention    server     the socket, and how it ends
"""
