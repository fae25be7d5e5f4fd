//! The command line. It only parses; `settings` says what is meant, `app` and `observe` do it.
