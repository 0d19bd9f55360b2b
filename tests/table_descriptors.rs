//! A table's descriptor is like the kernel's, and giving it leaves no trace in the program.

use crate::common::run::same_but_masked;
use crate::common::tables::lines_of_type;
use crate::common::{Case, Engine, both};

pub fn cases() -> Vec<Case> {
    both!(&[];
        number_flags_and_errors_are_as_natively,
        status_flags_are_those_that_it_was_opened_with,
        the_last_number_of_the_limit_is_enough,
        registers_stack_and_signal_mask_stay,
        the_memory_map_stays,
    )
}

fn number_flags_and_errors_are_as_natively(engine: Engine) {
    for table in ["mountinfo", "mounts", "mountstats"] {
        let seen = same_but_masked(engine, "descriptor", &[&format!("/proc/self/{table}")]);
        assert!(
            seen.text().contains("write Err(9)") && seen.text().contains("type 0x9fa0"),
            "{}",
            seen.text()
        );
    }
}

fn status_flags_are_those_that_it_was_opened_with(engine: Engine) {
    for table in ["mountinfo", "mounts", "mountstats"] {
        let seen = same_but_masked(engine, "status-flags", &[&format!("/proc/self/{table}")]);
        assert!(seen.text().contains("opened with 0o4000: 0o4000;"), "{}", seen.text());
    }
}

fn the_last_number_of_the_limit_is_enough(engine: Engine) {
    let seen = same_but_masked(engine, "descriptor-limit", &["/proc/self/mountinfo"]);
    assert!(lines_of_type(&seen.stdout, "ext4") > 0);
}

fn registers_stack_and_signal_mask_stay(engine: Engine) {
    let seen = same_but_masked(engine, "registers", &["/proc/self/mountinfo"]);
    assert!(lines_of_type(&seen.stdout, "ext4") > 0);
}

fn the_memory_map_stays(engine: Engine) {
    same_but_masked(engine, "memory", &["/proc/self/mountinfo"]);
}
