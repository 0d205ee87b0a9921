//! Every rule of a mandate: one request that it lets through, and one that it refuses by its name.

use super::{held, judged, plain};
use embryo::{Op, PlanBuilder};

/// What every mandate here begins with.
const BASE: &str = r#"
images = [{ path = "/usr/bin/true" }]
[bounds]
uids = [0, "1000-1005"]
gids = [0, 1000, 50]
capabilities = "all"
"#;

type Fill = fn(&mut PlanBuilder);

#[test]
fn each_rule_of_numbers_and_names_lets_through_and_refuses() {
    let cases: &[(&str, &str, Fill, Fill)] = &[
        (
            "ops",
            "ops = ['nice']",
            |plan| {
                plan.op(&Op::Nice { value: 3 });
            },
            |plan| {
                plan.op(&Op::TimerSlack { ns: 1 });
            },
        ),
        (
            "bounds.nice",
            "ops = ['nice']\nbounds.nice = 2",
            |plan| {
                plan.op(&Op::Nice { value: 2 });
            },
            |plan| {
                plan.op(&Op::Nice { value: 1 });
            },
        ),
    ];
    for (rule, mandate, good, bad) in cases {
        let held = held(&format!("{mandate}\n{BASE}").replace("bounds.nice = 2\n", "").replace(
            "[bounds]",
            if mandate.contains("bounds.nice") { "[bounds]\nnice = 2" } else { "[bounds]" },
        ));
        judged(&held, &plain(good), &[]).unwrap_or_else(|why| panic!("{rule}: {why:?}"));
        let refused = judged(&held, &plain(bad), &[]).expect_err(rule);
        assert_eq!(refused.rule, *rule, "{}", refused.why);
    }
}
