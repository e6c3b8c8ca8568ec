//! Device filters of cgroup v2: a BPF program of type CGROUP_DEVICE.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// A rule on devices; the last one that fits decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// Some(true) for block devices, Some(false) for character devices.
    pub block: Option<bool>,
    /// Major number; None for all.
    pub major: Option<u32>,
    /// Minor number; None for all.
    pub minor: Option<u32>,
    /// Bits of [`ACCESS_MKNOD`], [`ACCESS_READ`], [`ACCESS_WRITE`].
    pub access: u32,
}

/// Making a node.
pub const ACCESS_MKNOD: u32 = 1;
/// Reading.
pub const ACCESS_READ: u32 = 2;
/// Writing.
pub const ACCESS_WRITE: u32 = 4;

/// One instruction (linux/bpf.h, struct bpf_insn).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// Destination in the low four bits, source in the high ones.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: dst | src << 4,
        offset,
        immediate,
    }
}

// Registers: 0 result, 1 context, 2 type, 3 access, 4 major, 5 minor, 6 scratch.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbc;
const MOVE_NUMBER: u8 = 0xb4;
const AND_NUMBER: u8 = 0x54;
const SHIFT_RIGHT_NUMBER: u8 = 0x74;
const JUMP_NOT_EQUAL_NUMBER: u8 = 0x56;
const JUMP_NOT_EQUAL: u8 = 0x5e;
const JUMP_EQUAL_NUMBER: u8 = 0x16;
const EXIT: u8 = 0x95;

const TYPE_BLOCK: i32 = 1;
const TYPE_CHARACTER: i32 = 2;

/// The program for rules of which the last that fits decides; what none fits
/// is allowed when `default_allow`.
fn program(rules: &[DeviceRule], default_allow: bool) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx: access and type in one word, major, minor.
    let mut code = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(AND_NUMBER, 2, 0, 0, 0xffff),
        instruction(LOAD_WORD, 3, 1, 0, 0),
        instruction(SHIFT_RIGHT_NUMBER, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    // Backwards, so that the last rule is asked first.
    for rule in rules.iter().rev() {
        let mut tests: Vec<Vec<Instruction>> = Vec::new();
        if let Some(block) = rule.block {
            let kind = if block { TYPE_BLOCK } else { TYPE_CHARACTER };
            tests.push(vec![instruction(JUMP_NOT_EQUAL_NUMBER, 2, 0, 0, kind)]);
        }
        if rule.access != ACCESS_MKNOD | ACCESS_READ | ACCESS_WRITE {
            // An allowing rule fits when it covers all that is asked for, a
            // denying one when it covers any of it.
            let unfit = match rule.allow {
                true => instruction(JUMP_NOT_EQUAL, 6, 3, 0, 0),
                false => instruction(JUMP_EQUAL_NUMBER, 6, 0, 0, 0),
            };
            tests.push(vec![
                instruction(MOVE, 6, 3, 0, 0),
                instruction(AND_NUMBER, 6, 0, 0, rule.access as i32),
                unfit,
            ]);
        }
        for (register, number) in [(4, rule.major), (5, rule.minor)] {
            if let Some(number) = number {
                tests.push(vec![instruction(
                    JUMP_NOT_EQUAL_NUMBER,
                    register,
                    0,
                    0,
                    number as i32,
                )]);
            }
        }
        let mut body: Vec<Instruction> = tests.into_iter().flatten().collect();
        body.push(instruction(MOVE_NUMBER, 0, 0, 0, i32::from(rule.allow)));
        body.push(instruction(EXIT, 0, 0, 0, 0));
        // Every jump leads behind this rule.
        let length = body.len();
        for (i, step) in body.iter_mut().enumerate() {
            if matches!(
                step.code,
                JUMP_NOT_EQUAL_NUMBER | JUMP_NOT_EQUAL | JUMP_EQUAL_NUMBER
            ) {
                step.offset = (length - i - 1) as i16;
            }
        }
        code.extend(body);
        // The kernel refuses a program with a part that is never reached.
        if length == 2 {
            return code;
        }
    }
    code.push(instruction(MOVE_NUMBER, 0, 0, 0, i32::from(default_allow)));
    code.push(instruction(EXIT, 0, 0, 0, 0));
    code
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

fn bpf<T>(command: libc::c_int, argument: &mut T) -> io::Result<i32> {
    // SAFETY: the argument is a live structure of the size passed, laid out as
    // the command's part of union bpf_attr; pointers in it are to live memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(argument),
            size_of::<T>(),
        )
    };
    Ok(Errno::result(result)? as i32)
}

/// Replaces the device filter of a cgroup (v2): the new one is attached before
/// the old ones go, so that no moment is without.
///
/// # Errors
/// EPERM without privilege, EINVAL where the kernel has no such filters.
pub fn set_device_filter(
    cgroup: BorrowedFd<'_>,
    rules: &[DeviceRule],
    default_allow: bool,
) -> io::Result<()> {
    let old = attached(cgroup)?;
    let code = program(rules, default_allow);
    let mut load = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: code.len() as u32,
        code: code.as_ptr() as u64,
        license: c"BSD".as_ptr() as u64,
        ..Load::default()
    };
    let fd = bpf(PROG_LOAD, &mut load)?;
    // SAFETY: the call just returned this descriptor and nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let target = cgroup.as_raw_fd() as u32;
    let kind = ATTACH_CGROUP_DEVICE;
    bpf(
        PROG_ATTACH,
        &mut Attach {
            target,
            program: fd.as_raw_fd() as u32,
            kind,
            flags: ALLOW_MULTI,
        },
    )?;
    for id in old {
        let mut by_id = [id, 0, 0, 0];
        let old = bpf(PROG_GET_FD_BY_ID, &mut by_id)?;
        // SAFETY: as above.
        let old = unsafe { OwnedFd::from_raw_fd(old) };
        bpf(
            PROG_DETACH,
            &mut Attach {
                target,
                program: old.as_raw_fd() as u32,
                kind,
                flags: 0,
            },
        )?;
    }
    Ok(())
}

/// Ids of the filters on this cgroup itself.
fn attached(cgroup: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; 64];
    let mut query = Query {
        target: cgroup.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        ..Query::default()
    };
    bpf(PROG_QUERY, &mut query)?;
    ids.truncate(query.count as usize);
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program on a request, as the kernel would.
    fn run(code: &[Instruction], block: bool, access: u32, major: u32, minor: u32) -> bool {
        let kind = if block { TYPE_BLOCK } else { TYPE_CHARACTER } as u32;
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_u32; 16];
        let mut at = 0;
        loop {
            let step = code[at];
            let (dst, src) = (
                usize::from(step.registers & 15),
                usize::from(step.registers >> 4),
            );
            at += 1;
            match step.code {
                LOAD_WORD => registers[dst] = context[step.offset as usize / 4],
                MOVE => registers[dst] = registers[src],
                MOVE_NUMBER => registers[dst] = step.immediate as u32,
                AND_NUMBER => registers[dst] &= step.immediate as u32,
                SHIFT_RIGHT_NUMBER => registers[dst] >>= step.immediate,
                JUMP_NOT_EQUAL_NUMBER if registers[dst] != step.immediate as u32 => {
                    at += step.offset as usize
                }
                JUMP_NOT_EQUAL if registers[dst] != registers[src] => at += step.offset as usize,
                JUMP_EQUAL_NUMBER if registers[dst] == step.immediate as u32 => {
                    at += step.offset as usize
                }
                JUMP_NOT_EQUAL_NUMBER | JUMP_NOT_EQUAL | JUMP_EQUAL_NUMBER => {}
                EXIT => return registers[0] != 0,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_last_rule_that_fits_decides() {
        let all = ACCESS_MKNOD | ACCESS_READ | ACCESS_WRITE;
        let deny = DeviceRule {
            allow: false,
            block: None,
            major: None,
            minor: None,
            access: all,
        };
        let null = DeviceRule {
            allow: true,
            block: Some(false),
            major: Some(1),
            minor: Some(3),
            access: all,
        };
        let make = DeviceRule {
            allow: true,
            block: Some(true),
            major: None,
            minor: None,
            access: ACCESS_MKNOD,
        };
        let code = program(&[deny, null, make], true);
        assert!(run(&code, false, ACCESS_READ | ACCESS_WRITE, 1, 3));
        assert!(!run(&code, false, ACCESS_READ, 1, 5));
        assert!(!run(&code, true, ACCESS_READ, 1, 3));
        assert!(run(&code, true, ACCESS_MKNOD, 8, 0));
        assert!(!run(&code, true, ACCESS_MKNOD | ACCESS_READ, 8, 0));
        assert!(!run(
            &program(&[null, deny], true),
            false,
            ACCESS_READ,
            1,
            3
        ));
        let no_write = DeviceRule {
            access: ACCESS_WRITE,
            ..deny
        };
        let code = program(&[no_write], true);
        assert!(run(&code, true, ACCESS_READ, 8, 0));
        assert!(!run(&code, true, ACCESS_READ | ACCESS_WRITE, 8, 0));
        assert_eq!(
            program(&[null, deny], true).len(),
            8,
            "nothing behind an unconditional rule"
        );
        assert!(run(&program(&[], true), true, all, 8, 0));
        assert!(!run(&program(&[], false), true, all, 8, 0));
    }
}
