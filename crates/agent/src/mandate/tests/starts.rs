//! What may run: each kind of rule with an image that it lets through and one that it refuses.

use super::super::Image;
use super::{held, held_on, judged, narrowed, ops, plan, root, started};
use crate::files::trusted::Status;
use embryo::{ExecFlags, Keep, Op, Plan};
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::AsFd;

const ALL: Keep = Keep::SESSION.union(Keep::UMASK).union(Keep::CWD);

fn exec(path: &CStr, args: &[&str]) -> Plan {
    started(ALL, |plan| {
        plan.op(&Op::ExecPath { path, flags: ExecFlags::empty() }).arg("argv0");
        for arg in args {
            plan.arg(arg);
        }
    })
}

fn search(name: &CStr, search: &CStr) -> Plan {
    started(ALL, |plan| {
        plan.op(&Op::ExecName { name, search, flags: ExecFlags::SHELL }).arg("x");
    })
}

fn granted(flags: ExecFlags, args: &[&str]) -> Plan {
    started(ALL, |plan| {
        let slot = plan.slot();
        plan.op(&Op::ExecSlot { slot, flags }).arg("x");
        for arg in args {
            plan.arg(arg);
        }
    })
}

fn inode(file: &File) -> String {
    let status = Status::of(file.as_fd()).unwrap();
    format!("{}:{}:{}", status.device.0, status.device.1, status.inode)
}

#[test]
fn a_path_runs_by_the_handle_that_was_opened() {
    let held = held("images = [{ path = '/usr/bin/true' }]");
    let judged_exec = judged(&held, &exec(c"/usr/bin/true", &[]), &[]).unwrap();
    assert!(matches!(
        ops(&judged_exec).last(),
        Some(Op::ExecSlot { flags, .. }) if flags.is_empty()
    ));
    assert_eq!(
        (judged_exec.program.as_str(), judged_exec.origin.last()),
        ("/usr/bin/true", Some(&0))
    );
    assert!(matches!(judged_exec.image, Image::Ready));
    for other in [c"/usr/bin/false", c"/usr/bin/../bin/true", c"usr/bin/true", c"/usr//bin/true"] {
        let refused = judged(&held, &exec(other, &[]), &[]).expect_err("another");
        assert_eq!(refused.rule, "images", "{other:?}");
    }
}

#[test]
fn below_a_directory_is_what_is_there_without_links() {
    let held = held("images = [{ under = '/usr' }]");
    judged(&held, &exec(c"/usr/bin/true", &[]), &[]).expect("a program");
    for other in [c"/bin/true", c"/usr/bin", c"/usr/no/such", c"/usr/bin/sh", c"/proc/self/exe"] {
        let refused = judged(&held, &exec(other, &[]), &[]).expect_err("another");
        assert_eq!(refused.rule, "images", "{other:?}");
    }
}

#[test]
fn a_directory_of_processes_is_never_trusted() {
    let source = super::over_base("images = [{ under = '/proc' }]");
    let wrong = super::Compiled::named_on(root(), "test", &source).expect_err("/proc");
    assert_eq!(wrong[0].rule, "images.0");
}

#[test]
fn a_name_is_looked_up_where_a_rule_fits_and_nowhere_else() {
    let held = held("images = [{ under = '/usr/bin' }, { path = '/usr/sbin/chroot' }]");
    let found = judged(&held, &search(c"true", c"/etc::./:/sbin:/usr/sbin:/usr/bin"), &[]).unwrap();
    assert_eq!(found.program, "/usr/bin/true");
    assert!(matches!(ops(&found).last(), Some(Op::ExecSlot { flags, .. }) if flags.is_empty()));
    judged(&held, &search(c"/usr/bin/true", c""), &[]).expect("a path");
    for (name, list) in [(c"true", c"/bin"), (c"no-such", c"/usr/bin"), (c"bin/true", c"/usr")] {
        let refused = judged(&held, &search(name, list), &[]).expect_err("another");
        assert_eq!(refused.rule, "images", "{name:?} in {list:?}");
    }
    let far = format!("{}/usr/bin\0", "/x:".repeat(64));
    let far = CStr::from_bytes_with_nul(far.as_bytes()).unwrap();
    assert_eq!(judged(&held, &search(c"true", far), &[]).expect_err("far").rule, "images");
}

#[test]
fn arguments_are_what_the_rule_says() {
    let rule =
        |args: &str| held(&format!("images = [{{ path = '/usr/bin/true', args = {{ {args} }} }}]"));
    let full = "first = ['-c', '*.c'], rest = ['-O?', '-I*'], never = ['-I/etc*'], max = 4";
    for (args, given, refused) in [
        (full, &["-c", "a/b.c"][..], None),
        (full, &["-c", "a.c", "-O2", "-I/usr/include"], None),
        (full, &["-c", "a.c", "-O2", "-Ix", "-O1"], Some("images.args.max")),
        (full, &["-c"], Some("images.args.first")),
        (full, &["-S", "a.c"], Some("images.args.first")),
        (full, &["-c", "a.c", "-o"], Some("images.args.rest")),
        (full, &["-c", "a.c", "-I/etc/x"], Some("images.args.never")),
        ("", &[], None),
        ("", &["x"], Some("images.args.rest")),
        ("rest = ['*']", &["x", "", "y\n"], None),
        ("rest = ['*'], never = ['*specs*']", &["-specs=x"], Some("images.args.never")),
    ] {
        let found =
            judged(&rule(args), &exec(c"/usr/bin/true", given), &[]).map_err(|why| why.rule);
        assert_eq!(found.err().as_deref(), refused, "{args} {given:?}");
    }
    let long = "a".repeat(60_000);
    let slow = rule(&format!("rest = ['*{}b']", "a".repeat(500)));
    let refused = judged(&slow, &exec(c"/usr/bin/true", &[&long]), &[]).expect_err("slow");
    assert_eq!(refused.rule, "images.args");
}

#[test]
fn the_first_rule_that_fits_counts() {
    let held = held("images = [{ path = '/usr/bin/true', args = {} }, { under = '/usr/bin' }]");
    judged(&held, &exec(c"/usr/bin/false", &["x"]), &[]).expect("the second rule");
    let refused = judged(&held, &exec(c"/usr/bin/true", &["x"]), &[]).expect_err("the first");
    assert_eq!(refused.rule, "images.args.rest");
}

#[test]
fn an_inode_is_that_of_a_file_nobody_else_can_write() {
    let program = File::open("/usr/bin/true").unwrap();
    let other = File::open("/usr/bin/false").unwrap();
    let held = held(&format!("images = [{{ inode = '{}' }}]", inode(&program)));
    let plan = granted(ExecFlags::empty(), &[]);
    let judged_exec = judged(&held, &plan, &[program.as_fd()]).unwrap();
    assert!(matches!(judged_exec.image, Image::Ready));
    for wrong in [&other, &File::open("/dev/null").unwrap(), &File::open("/usr").unwrap()] {
        let refused = judged(&held, &plan, &[wrong.as_fd()]).expect_err("another");
        assert_eq!(refused.rule, "images");
    }
    let kept = granted(ExecFlags::KEEP_OPEN, &[]);
    let refused = judged(&held, &kept, &[program.as_fd()]).expect_err("no script");
    assert_eq!(refused.rule, "images.script");

    let file = tempfile::NamedTempFile::new().unwrap();
    let everybodys = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    file.as_file().set_permissions(everybodys).unwrap();
    let held = super::held(&format!("images = [{{ inode = '{}' }}]", inode(file.as_file())));
    let refused = judged(&held, &plan, &[file.as_file().as_fd()]).expect_err("writable");
    assert_eq!(refused.rule, "images.inode");
}

#[test]
fn a_digest_is_looked_at_in_the_copy() {
    let (one, two) = ("11".repeat(32), "22".repeat(32));
    let text = format!(
        "images = [{{ sha256 = '{one}' }}, {{ sha256 = '{two}', args = {{ first = ['-c'] }} }}]"
    );
    let held = held(&text);
    let file = File::open("/usr/bin/true").unwrap();
    let digests = |held, args: &[&str]| match judged(
        held,
        &granted(ExecFlags::empty(), args),
        &[file.as_fd()],
    ) {
        Ok(super::Judged { image: Image::Copy { grant: 0, digests }, grants, .. }) => {
            assert!(matches!(grants[..], [super::Grant::Client(0), super::Grant::Image]));
            Ok(digests.iter().map(|digest| digest[0]).collect::<Vec<_>>())
        }
        Ok(other) => panic!("{other:?}"),
        Err(why) => Err(why.rule),
    };
    assert_eq!(digests(&held, &["-c"]), Ok(vec![0x11, 0x22]));
    assert_eq!(digests(&held, &["-x"]), Ok(vec![0x11]));
    let narrower = narrowed(&held, &format!("images = [{{ sha256 = '{two}' }}]")).unwrap();
    assert_eq!(digests(&narrower, &["-c"]), Ok(vec![0x22]));
    assert_eq!(digests(&narrower, &["-x"]), Err("images.sha256".into()));
    let other = format!("images = [{{ sha256 = '{}' }}]", "33".repeat(32));
    let other = narrowed(&held, &other).unwrap();
    assert_eq!(digests(&other, &["-c"]), Err("images.sha256".into()));
    let path = narrowed(&held, "images = [{ path = '/usr/bin/true' }]").unwrap();
    assert_eq!(digests(&path, &["-c"]), Err("images".into()));
}

#[test]
fn a_start_by_registers_needs_its_rule() {
    let held = held("ops = ['map']");
    let plan = plan(|plan| {
        let flags = embryo::MapFlags::empty();
        plan.op(&Op::Map { addr: 0, len: 4096, prot: 3, flags });
    });
    let refused = judged(&held, &plan, &[]).expect_err("memory");
    assert_eq!(refused.rule, "ops");

    let regs = embryo::X86Regs::default();
    let plan = started(ALL, |plan| {
        let flags = embryo::MapFlags::empty();
        plan.op(&Op::Map { addr: 0, len: 4096, prot: 3, flags });
        let regset = embryo::Regset::X86(regs);
        plan.op(&Op::StartRegs { page: 0, regset: regset.as_bytes(), leave: &[] });
    });
    assert_eq!(judged(&held, &plan, &[]).expect_err("no rule").rule, "images");
    let listed = "ops = ['map']\nimages = [{ registers = true }]";
    judged(&super::held(listed), &plan, &[]).expect("any program at all");
    let unnamed = super::held("images = [{ registers = true }]");
    assert_eq!(judged(&unnamed, &plan, &[]).expect_err("map").rule, "ops");
}

#[test]
fn a_script_keeps_its_descriptor_for_its_interpreter_if_the_rule_says_so() {
    for (rule, kept) in [("", ExecFlags::empty()), (", script = true", ExecFlags::KEEP_OPEN)] {
        let held = held(&format!("images = [{{ path = '/usr/bin/true'{rule} }}]"));
        let judged = judged(&held, &exec(c"/usr/bin/true", &[]), &[]).expect("it is listed");
        let Some(Op::ExecSlot { flags, .. }) = ops(&judged).last().copied() else {
            panic!("it runs by its handle");
        };
        assert_eq!(flags, kept);
    }
}

#[test]
fn a_root_that_was_granted_has_to_be_named_and_gives_no_privilege() {
    let root = File::open("/").expect("a directory");
    let plan = started(Keep::SESSION | Keep::UMASK, |plan| {
        let slot = plan.slot();
        plan.op(&Op::ChrootSlot { slot }).op(&Op::ChdirPath { path: c"/" });
        plan.op(&Op::ExecPath { path: c"/usr/bin/true", flags: ExecFlags::empty() }).arg("x");
    });
    let named = judged(&held("ops = ['chroot-fd']"), &plan, &[root.as_fd()]).expect("it is named");
    assert!(ops(&named).contains(&Op::NoNewPrivs));
    assert_eq!(judged(&held(""), &plan, &[root.as_fd()]).expect_err("it is not").rule, "ops");
}

#[test]
fn files_of_the_client_and_of_its_children_are_not_trusted() {
    let text = "images = [{ path = '/usr/bin/true', owners = [1500] }]\nbounds.uids = [0]";
    judged(&held(text), &exec(c"/usr/bin/true", &[]), &[]).expect("another owner");
    let own = held_on(root(), 1500, text);
    let refused = judged(&own, &exec(c"/usr/bin/true", &[]), &[]).expect_err("its own");
    assert_eq!(refused.rule, "images.owners");
    for mandate in [
        "images = [{ path = '/usr/bin/true', owners = [1500] }]",
        "images = [{ path = '/usr/bin/true', owners = [1500] }]\nbounds.uids = []\nforced.uid = 1500",
    ] {
        let source = super::over_base(mandate);
        let wrong = super::Compiled::named_on(root(), "test", &source).expect_err("a child's");
        assert_eq!(wrong[0].rule, "images.0");
    }
}

#[test]
fn a_narrower_rule_trusts_no_less_than_it_says() {
    let wider = held("images = [{ under = '/usr/bin', owners = [1500] }]\nbounds.uids = [0]");
    let plan = exec(c"/usr/bin/true", &[]);
    let same = narrowed(&wider, "images = [{ under = '/usr', owners = [1500] }]").unwrap();
    judged(&same, &plan, &[]).expect("the same owners");
    let fewer = narrowed(&wider, "images = [{ under = '/usr' }]").unwrap();
    assert_eq!(judged(&fewer, &plan, &[]).expect_err("fewer").rule, "images.owners");
}

#[test]
fn a_set_user_id_file_is_named_by_itself_or_gains_nothing() {
    let Some(name) = ["su", "mount", "passwd", "newgrp"].into_iter().find(|name| {
        let file = File::open(format!("/usr/bin/{name}"));
        file.is_ok_and(|file| Status::of(file.as_fd()).is_ok_and(|status| status.is_set_id()))
    }) else {
        embryo_tests::skip!("no set-user-id program is readable here");
    };
    let path = std::ffi::CString::new(format!("/usr/bin/{name}")).unwrap();
    let plan = exec(&path, &[]);
    let under = held("images = [{ under = '/usr/bin' }]");
    assert_eq!(judged(&under, &plan, &[]).expect_err(name).rule, "images");
    let forced = held("images = [{ under = '/usr/bin' }]\nforced.no-new-privs = true");
    judged(&forced, &plan, &[]).expect("it gains nothing");
    let named = held(&format!("images = [{{ path = '/usr/bin/{name}' }}]"));
    judged(&named, &plan, &[]).expect("it is named");
}

#[test]
fn a_rule_says_one_thing() {
    for (rule, sound) in [
        ("{}", false),
        ("{ path = '/usr/bin/true', under = '/usr' }", false),
        ("{ path = '/usr/bin/no-such-program' }", false),
        ("{ path = 'usr/bin/true' }", false),
        ("{ path = '/bin/true' }", false),
        ("{ path = '/usr/bin' }", false),
        ("{ under = '/usr/bin/true' }", true),
        ("{ sha256 = 'abc' }", false),
        ("{ verity = 'md5:00' }", false),
        ("{ verity = 'sha256:00ff' }", true),
        ("{ inode = '8:1' }", false),
        ("{ registers = true }", true),
        ("{ registers = true, args = {} }", false),
    ] {
        let source = super::over_base(&format!("images = [{rule}]"));
        let made = super::Compiled::named_on(root(), "test", &source);
        assert_eq!(made.is_ok(), sound, "{rule} {made:?}");
    }
}
