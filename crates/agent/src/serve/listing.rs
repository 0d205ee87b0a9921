//! What an operator sees.

use super::Server;
use serde_json::{Value, json};

impl Server {
    pub(super) fn listing(&self) -> Value {
        json!({ "children": self.children.len(), "connections": self.connections.len() })
    }
}
