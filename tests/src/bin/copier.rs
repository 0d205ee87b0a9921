//! A program that copies as the agent's own does, for tests in programs that have another `main`.
//!
//! It must never do anything else.

fn main() {
    if embryo_agent::files::digest::is_copier() {
        embryo_agent::files::digest::copier_main();
    }
    std::process::exit(2)
}
