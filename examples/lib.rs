//! Nothing but the examples: `cargo run -p embryo-examples --example NAME`.
