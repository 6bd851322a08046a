//! Code as a list of instructions.
//!
//! In: bytes. Out: instructions with the data that follows them. Must never: read beyond the bytes, or follow a jump: where
//! data stands between instructions it is read as instructions, here and in every code alike.

/// `STOP`.
pub(super) const STOP: u8 = 0x00;
/// `CALLDATASIZE`.
const CALLDATASIZE: u8 = 0x36;
/// `CODECOPY`.
const CODECOPY: u8 = 0x39;
/// `PUSH0` (EIP-3855), the first of 33.
pub(super) const PUSH0: u8 = 0x5f;
/// `PUSH32`, the last.
pub(super) const PUSH32: u8 = 0x7f;
/// `RETURN`.
const RETURN: u8 = 0xf3;
/// `INVALID` (EIP-141).
const INVALID: u8 = 0xfe;

/// Bytes of code that are looked at: the largest size that is proposed for any fork (EIP-7907), ten times what Ethereum has.
const CODE_BYTES_MAX: usize = 256 << 10;

/// One instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction<'a> {
    /// Which.
    pub opcode: u8,
    /// What a `PUSH` pushes; less than it says at the end of the code.
    pub data: &'a [u8],
}

/// The instructions of a code, one after the other.
#[derive(Debug, Clone)]
pub struct Instructions<'a> {
    rest: &'a [u8],
}

impl<'a> Instructions<'a> {
    /// Of this code, as far as it is looked at.
    #[must_use]
    pub fn of(code: &'a [u8]) -> Self {
        Self { rest: code.get(..CODE_BYTES_MAX).unwrap_or(code) }
    }
}

impl<'a> Iterator for Instructions<'a> {
    type Item = Instruction<'a>;

    fn next(&mut self) -> Option<Instruction<'a>> {
        let (opcode, rest) = self.rest.split_first()?;
        let len = match *opcode {
            PUSH0..=PUSH32 => usize::from(opcode.saturating_sub(PUSH0)),
            _ => 0,
        };
        let (data, rest) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        self.rest = rest;
        Some(Instruction { opcode: *opcode, data })
    }
}

/// The code without the description that Solidity's compiler appends: a CBOR map of one to four entries with names for keys, and its
/// length in two bytes (Solidity, "Contract Metadata").
#[must_use]
pub fn without_metadata(code: &[u8]) -> &[u8] {
    let trailer = || {
        let (rest, len) = code.split_last_chunk::<2>()?;
        let at = rest.len().checked_sub(usize::from(u16::from_be_bytes(*len)))?;
        let (code, map) = rest.split_at_checked(at)?;
        let is_map = matches!(map, [0xa1..=0xa4, 0x60..=0x77, ..]);
        is_map.then_some(code)
    };
    trailer().unwrap_or(code)
}

/// The runtime code inside creation code; `None` where the code is no creation code. A constructor copies what stands behind
/// its own `RETURN`, and never asks for calldata, which it has not; runtime code does before it returns anything. Immutables are
/// still zero in it.
#[must_use]
pub fn runtime_in(code: &[u8]) -> Option<&[u8]> {
    let mut instructions = Instructions::of(code);
    let mut copies = false;
    while let Some(Instruction { opcode, .. }) = instructions.next() {
        match opcode {
            CALLDATASIZE => return None,
            CODECOPY => copies = true,
            RETURN if copies => {
                let behind = instructions.rest;
                return match behind.split_first() {
                    Some((&(INVALID | STOP), runtime)) => Some(runtime),
                    _ => Some(behind),
                };
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::hex;

    #[test]
    fn what_is_pushed_is_no_instruction() {
        let code = hex!("60ff 5f 63aabbccdd 00");
        let read: Vec<_> = Instructions::of(&code).map(|one| (one.opcode, one.data.to_vec())).collect();
        let wanted =
            [(0x60, vec![0xff]), (0x5f, vec![]), (0x63, vec![0xaa, 0xbb, 0xcc, 0xdd]), (0x00, vec![])];
        assert_eq!(read, wanted);
    }

    #[test]
    fn a_push_beyond_the_end_has_what_is_there() {
        let code = hex!("7f 01 02");
        let [last] = Instructions::of(&code).collect::<Vec<_>>()[..] else { panic!("one instruction") };
        assert_eq!(last.data, [1, 2]);
        assert_eq!(Instructions::of(&[]).count(), 0);
        assert_eq!(Instructions::of(&vec![0; 1 << 20]).count(), CODE_BYTES_MAX);
    }

    #[test]
    fn only_a_description_is_cut_off() {
        // {"ipfs": 34 bytes, "solc": 0.8.x}, as solc writes it.
        let map =
            [&hex!("a2 64 69706673 58 22")[..], &[0x12; 34], &hex!("64 736f6c63 43 000812 0033")].concat();
        let code = [&hex!("6001 6002 01 00 fe")[..], &map].concat();
        assert_eq!(without_metadata(&code), hex!("6001 6002 01 00 fe"));
        for other in [&hex!("6001 0002")[..], &hex!("ffff"), &hex!("01"), &[], &hex!("a1 00 0002")] {
            assert_eq!(without_metadata(other), other);
        }
    }

    #[test]
    fn a_constructor_returns_what_stands_behind_it() {
        // codecopy(0, 12, 2); return(0, 2); invalid; stop; stop
        let creation = hex!("6002 600c 5f 39 6002 5f f3 fe 36 00");
        assert_eq!(runtime_in(&creation), Some(&hex!("36 00")[..]));
        // It asks for calldata, copies code (a child's, say) and returns.
        assert_eq!(runtime_in(&hex!("36 5f 5f 5f 39 5f 5f f3 fe 00")), None);
        assert_eq!(runtime_in(&hex!("5f 5f f3 fe 00")), None);
    }
}
