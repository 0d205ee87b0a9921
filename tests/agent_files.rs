//! The agent waits for no file that a client chose, and believes none that a client can change.

mod agent_files {
    mod cgroup;
    mod close;
    mod digest;
    mod facts;
    mod fuse;
    mod trusted;
    mod verity;
}
