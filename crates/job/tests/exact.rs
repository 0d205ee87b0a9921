//! The exact form gives back the bytes that it was made from, for every plan.
//!
//! It must never compare plans by what is printed of them.

#[allow(dead_code, unused_imports, reason = "its own tests run where it lies")]
#[path = "../../plan/tests/properties.rs"]
mod properties;

use embryo_job::{Content, Document, Exact, Syntax};
use embryo_plan::{ArgText, Op, OwnedPlan};
use properties::description;
use proptest::prelude::*;
use std::path::Path;

/// Writes it, reads it, and compares the bytes.
fn comes_back(plan: &OwnedPlan) {
    let content = Content::Exact(Exact::of(plan));
    for (syntax, text) in [
        (Syntax::Toml, content.to_toml().expect("it can be said")),
        (Syntax::Json, content.to_json().expect("it can be said")),
    ] {
        let document = Document::parse("plan", text.clone().into_bytes(), Some(syntax));
        let read = document.unwrap_or_else(|e| panic!("{e}\n{}\n{text}", e.excerpt()));
        let Content::Exact(exact) = read.content() else { panic!("another form: {text}") };
        let again = exact.plan().unwrap_or_else(|e| panic!("{}\n{text}", read.locate(&e)));
        assert_eq!(again.as_bytes(), plan.as_bytes(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn every_plan_comes_back_to_the_byte(given in description()) {
        let plan = given.builder().build();
        prop_assume!(plan.is_ok());
        comes_back(&plan.expect("it was assumed"));
    }
}

/// The plans of the golden vectors, which have every op.
fn vectors() -> Vec<OwnedPlan> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors");
    let files = std::fs::read_dir(folder).expect("there are vectors");
    let files = files.map(|file| file.expect("it can be read").path());
    let hex = files.filter(|path| path.extension().is_some_and(|end| end == "hex"));
    hex.map(|path| {
        let text = std::fs::read_to_string(&path).expect("it is text");
        let code = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let byte = |word: &str| u8::from_str_radix(word, 16).expect("two digits make a byte");
        let bytes: Vec<u8> = code.flat_map(str::split_ascii_whitespace).map(byte).collect();
        OwnedPlan::from_bytes(bytes).unwrap_or_else(|error| panic!("{path:?}: {error}"))
    })
    .collect()
}

#[test]
fn every_vector_comes_back_to_the_byte() {
    vectors().iter().for_each(comes_back);
}

/// What `explain` prints of these is drawn from bytes that the exact form has whole.
const DRAWN: [&str; 24] = [
    "instructions",
    "instruction",
    "stack",
    "state_bytes",
    "length",
    "auxv",
    "value",
    "leave",
    "otherwise",
    "descriptor",
    "lower",
    "upper",
    "work",
    "start_code",
    "end_code",
    "start_data",
    "end_data",
    "start_brk",
    "brk",
    "start_stack",
    "arg_start",
    "arg_end",
    "env_start",
    "env_end",
];

#[test]
fn fields_are_named_as_they_are_explained() {
    for plan in vectors() {
        let exact: serde_json::Value =
            serde_json::from_str(&Content::Exact(Exact::of(&plan)).to_json().expect("it is JSON"))
                .expect("it is JSON");
        for (index, op) in plan.as_plan().ops().flatten().enumerate() {
            let written = &exact["op"][index];
            assert_eq!(written["op"], op.code().name());
            each_field(&op, |name, value| {
                // Of a set that stays, nothing is written.
                let says = !matches!(value, ArgText::Word("keep")) || written[name].is_string();
                assert!(
                    DRAWN.contains(&name) || !says || !written[name].is_null(),
                    "{}: {name}: {written}",
                    op.code().name()
                );
            });
        }
    }
}

fn each_field(op: &Op<'_>, mut see: impl FnMut(&'static str, ArgText<'_>)) {
    op.fields(&mut |name, value| see(name, value));
}

#[test]
fn what_is_missing_is_said() {
    let wrong = |text: &str| {
        Exact::from_toml(text).expect("it is one").plan().expect_err("not whole").to_string()
    };
    assert_eq!(wrong("op = [{ op = 'nice' }]"), "nice needs `value`");
    assert_eq!(
        wrong("op = [{ op = 'put-fd', slot = 0, fd = 'x' }]"),
        "`fd` of put-fd: a number is needed"
    );
    assert!(wrong("slots = 2000\nop = []").contains("at most 1024 slots"));
    assert!(wrong("op = []\nargv = ['x']").contains("start"), "{}", wrong("op = []\nargv = ['x']"));
    let error =
        Exact::from_toml("op = [{ op = 'subreaper', x = 1 }]").expect_err("it has no fields");
    assert!(error.to_string().contains("unknown key `x`"), "{error}");
}
