//! Runtime code without what differs between two copies of one source: constants, addresses, jump targets and metadata.
//!
//! In: code. Out: its hash, and the hash of its instructions. Must never: follow code. One pass from the first byte to the last,
//! as a disassembler does it; what is data is read as instructions, in every copy alike.
//!
//! Every `PUSH`, `PUSH0` included, becomes the same instruction: another amount may be pushed by another width. The compiler's
//! metadata (a CBOR map with its length behind it) is left out wherever it stands, since code that creates contracts holds theirs
//! as well (Solidity documentation, "Contract Metadata", encoding of the metadata hash in the bytecode).

use alloy_primitives::keccak256;
use cordon_model::signature::CodeMark;

/// Longest code that is looked at: more than twice the 24,576 bytes that EIP-170 allows, since some chains allow more.
const CODE_BYTES_MAX: usize = 65_536;

const PUSH0: u8 = 0x5f;
const PUSH1: u8 = 0x60;
const PUSH32: u8 = 0x7f;

/// First bytes of a metadata map behind its head: a text of four or five letters, `ipfs`, `bzzr0`, `bzzr1` or `solc`.
const METADATA_KEYS: [&[u8]; 4] = [b"\x64ipfs", b"\x65bzzr0", b"\x65bzzr1", b"\x64solc"];

/// Heads of CBOR maps with one to four entries; compilers write at most three.
const METADATA_HEADS: std::ops::RangeInclusive<u8> = 0xa1..=0xa4;

/// Longest metadata: three entries with a hash of 34 bytes take 66 bytes, and vendors add some.
const METADATA_BYTES_MAX: usize = 128;

/// The marks of a code of a wanted number of instructions; nothing where there is none, or more than any chain allows. Hashing costs
/// several times what counting costs, so that it is done only for codes that can be equal to a known one.
pub(crate) fn mark(code: &[u8], is_wanted: impl Fn(u32) -> bool) -> Option<CodeMark> {
    if code.is_empty() || code.len() > CODE_BYTES_MAX {
        return None;
    }
    let opcodes = normalised(code);
    let instructions = u32::try_from(opcodes.len()).ok().filter(|count| is_wanted(*count))?;
    Some(CodeMark { code_hash: keccak256(code), opcodes_hash: keccak256(&opcodes), instructions })
}

/// The instructions, one byte each.
fn normalised(code: &[u8]) -> Vec<u8> {
    let mut opcodes = Vec::with_capacity(code.len());
    let mut rest = code;
    while let Some((&opcode, after)) = rest.split_first() {
        if let Some(behind) = behind_metadata(rest) {
            rest = behind;
            continue;
        }
        let data = if (PUSH1..=PUSH32).contains(&opcode) { usize::from(opcode - PUSH0) } else { 0 };
        opcodes.push(if (PUSH0..=PUSH32).contains(&opcode) { PUSH0 } else { opcode });
        // The last constant may be cut by the end of the code; the EVM reads zeros there.
        rest = after.get(data..).unwrap_or_default();
    }
    opcodes
}

/// What follows the metadata that `rest` begins with, if it does.
fn behind_metadata(rest: &[u8]) -> Option<&[u8]> {
    let (head, map) = rest.split_first()?;
    if !METADATA_HEADS.contains(head) || !METADATA_KEYS.iter().any(|key| map.starts_with(key)) {
        return None;
    }
    // The length of the map stands behind it, in two bytes.
    let ends = |bytes: &usize| {
        let length = rest.get(*bytes..bytes.saturating_add(2)).and_then(|two| <[u8; 2]>::try_from(two).ok());
        length.is_some_and(|two| usize::from(u16::from_be_bytes(two)) == *bytes)
    };
    let bytes = (1..=METADATA_BYTES_MAX).find(ends)?;
    rest.get(bytes.saturating_add(2)..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn mark(code: &[u8]) -> Option<CodeMark> {
        super::mark(code, |_| true)
    }

    /// The metadata of a contract, with this hash.
    fn metadata(hash: u8) -> Vec<u8> {
        let map = [&b"\xa2\x64ipfs\x58\x22"[..], &[hash; 34], b"\x64solc\x43\x00\x08\x1c"].concat();
        let length = u16::try_from(map.len()).unwrap().to_be_bytes();
        [&map[..], &length].concat()
    }

    /// An instruction: an opcode that is no `PUSH` and begins no metadata, or a constant.
    #[derive(Debug, Clone)]
    enum Instruction {
        Plain(u8),
        Push(Vec<u8>),
    }

    fn instruction() -> impl Strategy<Value = Instruction> {
        prop_oneof![
            (0u8..0x5f).prop_map(Instruction::Plain),
            (0x80u8..0xa0).prop_map(Instruction::Plain),
            vec(any::<u8>(), 0..=32).prop_map(Instruction::Push),
        ]
    }

    fn assemble(instructions: &[Instruction], constant: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let mut code = Vec::new();
        for instruction in instructions {
            match instruction {
                Instruction::Plain(opcode) => code.push(*opcode),
                Instruction::Push(bytes) => {
                    let bytes = constant(bytes);
                    code.push(PUSH0 + u8::try_from(bytes.len()).unwrap());
                    code.extend(bytes);
                }
            }
        }
        code
    }

    proptest! {
        #[test]
        fn other_constants_and_metadata_change_nothing(
            instructions in vec(instruction(), 1..60),
            fill in any::<u8>(),
            width in 0usize..=32,
            hashes in any::<(u8, u8)>(),
        ) {
            let one = [assemble(&instructions, <[u8]>::to_vec), metadata(hashes.0)].concat();
            let other = [assemble(&instructions, |_| vec![fill; width]), metadata(hashes.1)].concat();
            let (one, other) = (mark(&one).unwrap(), mark(&other).unwrap());
            prop_assert_eq!(one.opcodes_hash, other.opcodes_hash);
            prop_assert_eq!(one.instructions as usize, instructions.len());
        }

        #[test]
        fn another_order_is_another_code(
            instructions in vec(instruction(), 2..60),
            at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(instructions.len() - 1);
            let word = |one: &Instruction| match one {
                Instruction::Plain(opcode) => *opcode,
                Instruction::Push(_) => PUSH0,
            };
            let mut swapped = instructions.clone();
            swapped.swap(at, at + 1);
            let [one, other] = [&instructions, &swapped].map(|all| mark(&assemble(all, <[u8]>::to_vec)).unwrap());
            let is_same = word(&instructions[at]) == word(&instructions[at + 1]);
            prop_assert_eq!(one.opcodes_hash == other.opcodes_hash, is_same);
        }

        #[test]
        fn no_bytes_stop_it(code in vec(any::<u8>(), 0..400)) {
            let marked = mark(&code);
            prop_assert_eq!(marked.is_none(), code.is_empty());
            prop_assert!(marked.is_none_or(|one| one.instructions as usize <= code.len()));
        }
    }

    #[test]
    fn metadata_is_left_out_wherever_it_stands() {
        let (create, run) = (&[0x60, 0x01, 0x52][..], &[0x33, 0xff, 0xfe][..]);
        let code = |hash: u8| [create, &metadata(hash), run, &metadata(hash ^ 0xff)].concat();
        let marks = [code(1), code(2)].map(|code| mark(&code).unwrap());
        assert_eq!(marks[0].opcodes_hash, marks[1].opcodes_hash);
        assert_ne!(marks[0].code_hash, marks[1].code_hash);
        assert_eq!(marks[0].instructions, 5);
        // Without its length behind it, it is no metadata.
        let cut = [create, &metadata(1)[..40]].concat();
        assert_ne!(mark(&cut).unwrap().opcodes_hash, mark(create).unwrap().opcodes_hash);
    }

    #[test]
    fn a_code_of_another_length_is_not_hashed() {
        assert_eq!(super::mark(&[0x01, 0x02], |count| count == 3), None);
        assert_eq!(super::mark(&[0x01, 0x02], |count| count == 2), mark(&[0x01, 0x02]));
    }

    #[test]
    fn the_last_constant_may_be_cut_and_code_has_a_bound() {
        assert_eq!(mark(&[0x00, PUSH32, 1, 2]).unwrap().instructions, 2);
        assert!(mark(&vec![0; CODE_BYTES_MAX]).is_some() && mark(&vec![0; CODE_BYTES_MAX + 1]).is_none());
    }
}
