//! For processors that nobody has written stubs for: every open that the filter picks stops.

use crate::arch::Registers;
use crate::handlers::Environment;
use crate::ptrace::{Result, Stopped};
use crate::rules::Rules;
use crate::tracer::{Outcome, Traced};
use std::rc::Rc;

/// Of no effect here.
pub const DEFAULT_PATIENCE: u8 = 8;

/// How many sites of all processes were patched, and how many stay trapped since they can't be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Sites {
    pub patched: u64,
    pub left: u64,
}

/// There is none.
#[derive(Debug)]
pub enum FastPath {}

impl FastPath {
    pub fn new(_: &Rules, _: u8) -> Option<FastPath> {
        None
    }

    pub fn counts(&self) -> Sites {
        match *self {}
    }

    pub fn tells(&self, _: u64) -> bool {
        match *self {}
    }
}

/// How often a task's sites have stopped for nothing: nobody counts.
#[derive(Debug, Default)]
pub struct Futile;

impl Futile {
    pub fn count(&mut self, fast_path: &FastPath, _: u64) -> bool {
        match *fast_path {}
    }
}

pub fn told(registers: &Registers) -> i64 {
    registers.result(crate::arch::Abi::NATIVE)
}

pub fn has_trapped(_: &Environment, _: &mut Stopped, _: i32) -> Result<bool> {
    Ok(false)
}

pub fn restore(_: &Environment, _: &mut Stopped, _: i32) -> Result<bool> {
    Ok(false)
}

pub async fn handle(_: Traced, _: Rc<Environment>) -> Result<Outcome> {
    Ok(None)
}

pub async fn close(_: &Traced, _: &Environment) -> Result<()> {
    Ok(())
}
