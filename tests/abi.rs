//! Calls by every gate of the processor, and children made in every way.

use crate::common::needs::{CC_M32, Need};
use crate::common::run::{assert_same_lines, same_but_masked};
use crate::common::tables::{lines_of_type, masked};
use crate::common::{Case, Engine, bare, bare_guest, both, finish, stage};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const INT_80: Need = Need::new("int 0x80 from 64-bit code (a kernel with 32-bit emulation)", || {
    bare_guest("int80")
        .arg(small())
        .arg(TABLE)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
});
const VSYSCALL: Need = Need::new("a vsyscall page", || {
    std::fs::read_to_string("/proc/self/maps").is_ok_and(|maps| maps.contains("[vsyscall]"))
});

pub fn cases() -> Vec<Case> {
    [
        both!(&[INT_80]; calls_of_32_bit_code_from_64_bit_code_are_served_with_all_registers_kept),
        both!(&[CC_M32]; every_gate_of_32_bit_code_is_served_with_all_registers_kept),
        both!(&[]; x32_calls_are_what_the_kernel_makes_of_them, children_made_in_every_way_are_served),
        both!(&[VSYSCALL]; the_page_of_old_calls_is_left_alone),
    ]
    .concat()
}

const TABLE: &str = "/proc/self/mountinfo";

/// A file system whose figures stay.
fn small() -> PathBuf {
    if stage().has_mounts { stage().quiet() } else { "/dev/shm".into() }
}

/// The magic of tmpfs as the first word of a struct shows it, and that of ext4.
const TMPFS: &str = "  94190201  ";
const EXT4: &str = "  53ef0000  ";

/// The same but for the type, in tables and structs.
#[track_caller]
fn same_but_the_type(seen: &str, expected: &[u8], structs: usize, what: &str) {
    let expected = String::from_utf8_lossy(&masked(expected)).into_owned();
    assert_eq!(expected.matches(TMPFS).count(), structs, "{expected}");
    let expected = expected.replace(TMPFS, EXT4).replace("94190201", "53ef0000");
    assert_same_lines(seen, &expected, what);
}

fn calls_of_32_bit_code_from_64_bit_code_are_served_with_all_registers_kept(engine: Engine) {
    let expected = finish(bare_guest("int80").arg(small()).arg(TABLE)).quiet_success();
    let seen = finish(engine.prefix().guest("int80").arg(small()).arg(TABLE)).quiet_success();
    same_but_the_type(&seen.text(), &expected.stdout, 4, "int 0x80");
    assert!(lines_of_type(&seen.stdout, "ext4") > 0);
}

/// The program of 32-bit code.
fn gates() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gates32");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/gates32.c");
        let mut command = Command::new("cc");
        // Addresses of its own data are in its code.
        command.args(["-m32", "-no-pie", "-fno-pie", "-O1", "-Wall", "-Werror", "-o"]).arg(&to).arg(source);
        assert!(command.status().unwrap().success(), "cc -m32");
        to
    })
}

fn every_gate_of_32_bit_code_is_served_with_all_registers_kept(engine: Engine) {
    let program = gates();
    let gates = ["int80", "vdso"];
    let texts = gates.map(|gate| {
        let expected = finish(bare(program).arg(gate).arg(small()).arg(TABLE)).quiet_success();
        let seen = finish(engine.prefix().command(program).arg(gate).arg(small()).arg(TABLE)).quiet_success();
        same_but_the_type(&seen.text(), &expected.stdout, 4, gate);
        assert!(lines_of_type(&seen.stdout, "ext4") > 0);
        seen.text()
    });
    assert_eq!(texts[0], texts[1], "the gates differ");
}

/// From 64-bit code as well the kernel takes them, where it has that ABI; else it says ENOSYS.
fn x32_calls_are_what_the_kernel_makes_of_them(engine: Engine) {
    let expected = finish(bare_guest("x32").arg(small()).arg(TABLE)).quiet_success();
    let seen = finish(engine.prefix().guest("x32").arg(small()).arg(TABLE)).quiet_success();
    let structs = String::from_utf8_lossy(&expected.stdout).matches(TMPFS).count();
    same_but_the_type(&seen.text(), &expected.stdout, structs, "x32");
}

fn children_made_in_every_way_are_served(engine: Engine) {
    let small = small();
    let seen = same_but_masked(engine, "children", &[small.to_str().unwrap(), TABLE]);
    assert!(seen.text().contains("clone3, untraced: 0x0\n"), "{}", seen.text());
    assert!(seen.text().contains("clone, vfork: 0x0\n"), "{}", seen.text());
}

fn the_page_of_old_calls_is_left_alone(engine: Engine) {
    same_but_masked(engine, "vsyscall", &[]);
}
