//! What the agent does with files that a client named or sent, without ever waiting for one.
