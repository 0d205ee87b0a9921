//! Promise: who may start nothing gets exactly what a mandate says. Two stories from end to end: a worker that is
//! closed in and still compiles, and a user whose jobs run as somebody else, in cgroups of their own.
//!
//! It must never look at what the agent says alone: each thing is seen by the worker or its job, and from outside.

mod agent_stories {
    mod ci;
    mod worker;
}
