//! What can be read off a code without running it.
//!
//! In: instructions. Out: functions offered and called, addresses, and what the code may do. Must never: claim that a path is
//! reached. An address that is put together at run time, or comes with a call, is not in here.

use super::code::{Instruction, Instructions, PUSH0, PUSH32, without_metadata};
use alloy_primitives::{Address, Selector, keccak256};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Functions by which lenders of flash loans call back, as their interfaces declare them.
const LOAN_CALLBACKS: [&str; 13] = [
    // Aave, versions 1 to 3.
    "executeOperation(address,uint256,uint256,bytes)",
    "executeOperation(address[],uint256[],uint256[],address,bytes)",
    "executeOperation(address,uint256,uint256,address,bytes)",
    // Balancer V2.
    "receiveFlashLoan(address[],uint256[],uint256[],bytes)",
    // ERC-3156, and Euler.
    "onFlashLoan(address,address,uint256,uint256,bytes)",
    "onFlashLoan(bytes)",
    // dYdX Solo.
    "callFunction(address,(address,uint256),bytes)",
    // Uniswap v3, PancakeSwap v3.
    "uniswapV3FlashCallback(uint256,uint256,bytes)",
    "pancakeV3FlashCallback(uint256,uint256,bytes)",
    // Morpho.
    "onMorphoFlashLoan(uint256,bytes)",
    // DODO V2, by kind of pool.
    "DVMFlashLoanCall(address,uint256,uint256,bytes)",
    "DPPFlashLoanCall(address,uint256,uint256,bytes)",
    "DSPFlashLoanCall(address,uint256,uint256,bytes)",
];

/// Functions by which markets call back, as their interfaces declare them.
const SWAP_CALLBACKS: [&str; 8] = [
    "uniswapV2Call(address,uint256,uint256,bytes)",
    "pancakeCall(address,uint256,uint256,bytes)",
    "BiswapCall(address,uint256,uint256,bytes)",
    "uniswapV3SwapCallback(int256,int256,bytes)",
    "pancakeV3SwapCallback(int256,int256,bytes)",
    "algebraSwapCallback(int256,int256,bytes)",
    "unlockCallback(bytes)",
    "swapCallback(uint256,uint256,bytes)",
];

static LOANS: LazyLock<BTreeSet<Selector>> = LazyLock::new(|| selectors(&LOAN_CALLBACKS));
static SWAPS: LazyLock<BTreeSet<Selector>> = LazyLock::new(|| selectors(&SWAP_CALLBACKS));

/// What stands in four bytes and is no function: a mask, and Solidity's own errors `Error(string)` and `Panic(uint256)`.
const NO_FUNCTIONS: [[u8; 4]; 4] = [[0xff; 4], [0; 4], [0x08, 0xc3, 0x79, 0xa0], [0x4e, 0x48, 0x7b, 0x71]];

/// Leading zero bytes that an address may have and be found: compilers push it without them. One with more than eight takes
/// 2^72 tries to make.
const ZERO_BYTES_MAX: usize = 8;

/// Constant addresses that are counted with their first bytes: numbers are rarely this large, so that what stands in a word with
/// anything here is taken for an address where it is only counted.
const HIGH_BYTES: usize = 4;

const SUB: u8 = 0x03;
const LT: u8 = 0x10;
const GT: u8 = 0x11;
const EQ: u8 = 0x14;
const XOR: u8 = 0x18;
const SHL: u8 = 0x1b;
const ORIGIN: u8 = 0x32;
const SSTORE: u8 = 0x55;
const PUSH1: u8 = 0x60;
const PUSH4: u8 = 0x63;
const LOG0: u8 = 0xa0;
const LOG4: u8 = 0xa4;
const CREATE: u8 = 0xf0;
const CALL: u8 = 0xf1;
const CALLCODE: u8 = 0xf2;
const DELEGATECALL: u8 = 0xf4;
const CREATE2: u8 = 0xf5;
const STATICCALL: u8 = 0xfa;
const SELFDESTRUCT: u8 = 0xff;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CodeFacts {
    /// Functions that its dispatcher compares calldata with.
    pub functions: BTreeSet<Selector>,
    /// Other functions that it names, to call them.
    pub callees: BTreeSet<Selector>,
    /// Addresses that stand in it.
    pub addresses: BTreeSet<Address>,
    /// Instructions.
    pub instructions: u32,
    /// Of these, calls of any kind.
    pub calls: u32,
    /// It has a lender's callback.
    pub takes_loans: bool,
    /// It has a market's callback.
    pub swaps: bool,
    /// `ORIGIN`.
    pub asks_origin: bool,
    /// `SELFDESTRUCT`.
    pub destroys_itself: bool,
    /// `CREATE` or `CREATE2`.
    pub creates: bool,
    /// `DELEGATECALL` or `CALLCODE`.
    pub delegates: bool,
    /// `LOG0` to `LOG4`.
    pub logs: bool,
    /// `SSTORE`.
    pub writes: bool,
    /// The compiler's description is there.
    pub has_metadata: bool,
}

impl CodeFacts {
    /// Of runtime code.
    #[must_use]
    pub fn of(code: &[u8]) -> Self {
        let body = without_metadata(code);
        let mut facts = Self { has_metadata: body.len() < code.len(), ..Self::default() };
        let mut instructions = Instructions::of(body).peekable();
        while let Some(one) = instructions.next() {
            facts.note(one.opcode);
            let next = instructions.peek().copied();
            let after = next.and_then(|_| instructions.clone().nth(1));
            facts.name(one, next, after);
        }
        let functions = std::mem::take(&mut facts.functions);
        facts.callees.retain(|callee| !functions.contains(callee));
        facts.takes_loans = functions.iter().any(|function| LOANS.contains(function));
        facts.swaps = functions.iter().any(|function| SWAPS.contains(function));
        facts.functions = functions;
        facts
    }

    fn note(&mut self, opcode: u8) {
        self.instructions = self.instructions.saturating_add(1);
        match opcode {
            CALL | CALLCODE | DELEGATECALL | STATICCALL => self.calls = self.calls.saturating_add(1),
            ORIGIN => self.asks_origin = true,
            SELFDESTRUCT => self.destroys_itself = true,
            CREATE | CREATE2 => self.creates = true,
            LOG0..=LOG4 => self.logs = true,
            SSTORE => self.writes = true,
            _ => {}
        }
        self.delegates |= matches!(opcode, DELEGATECALL | CALLCODE);
    }

    /// Takes a constant for a function or an address, by what is done with it in the next two instructions.
    fn name(&mut self, one: Instruction<'_>, next: Option<Instruction<'_>>, after: Option<Instruction<'_>>) {
        if one.data.is_empty() {
            return;
        }
        let is_counted =
            |address: &Address| address.get(..HIGH_BYTES).is_some_and(|high| high != [0; HIGH_BYTES]);
        if matches!(one.data.len(), 20 | 32) {
            self.addresses.extend(
                address(one.data).filter(is_counted).filter(|one| *one != Address::repeat_byte(0xff)),
            );
        }
        if let Some(callee) = written_in_word(one.data).or_else(|| shifted(one.data, next, after)) {
            self.callees.extend(function(callee));
        } else if one.opcode == PUSH4 {
            let found = <[u8; 4]>::try_from(one.data).ok().and_then(function);
            let compares = |one: Option<Instruction<'_>>| {
                one.is_some_and(|one| matches!(one.opcode, EQ | LT | GT | XOR | SUB))
            };
            let list =
                if compares(next) || compares(after) { &mut self.functions } else { &mut self.callees };
            list.extend(found);
        }
    }
}

/// The addresses that stand in a code as constants, immutables included, each once. A number is not told from an address.
#[must_use]
pub fn constant_addresses(code: &[u8]) -> BTreeSet<Address> {
    Instructions::of(code).filter_map(|one| address(one.data)).collect()
}

/// The address that a pushed constant can be: at most 20 bytes, after nothing but zeros where there are more.
fn address(data: &[u8]) -> Option<Address> {
    let shortest = Address::len_bytes().saturating_sub(ZERO_BYTES_MAX);
    if data.len() < shortest || data.len() > usize::from(PUSH32 - PUSH0) {
        return None;
    }
    let (zeros, low) = data.split_at_checked(data.len().saturating_sub(Address::len_bytes()))?;
    let mut address = Address::ZERO;
    address.get_mut(Address::len_bytes().checked_sub(low.len())?..)?.copy_from_slice(low);
    (zeros.iter().all(|byte| *byte == 0) && !address.is_zero()).then_some(address)
}

/// The function in a word that begins with it and goes on with zeros, as older compilers write calldata.
fn written_in_word(data: &[u8]) -> Option<[u8; 4]> {
    let (selector, rest) = data.split_first_chunk::<4>()?;
    (data.len() == 32 && rest.iter().all(|byte| *byte == 0)).then_some(*selector)
}

/// The function that a constant becomes by being shifted to the left: 224 bits, or more where it ends in zeros.
fn shifted(data: &[u8], next: Option<Instruction<'_>>, after: Option<Instruction<'_>>) -> Option<[u8; 4]> {
    let (Some(Instruction { opcode: PUSH1, data: [bits] }), Some(Instruction { opcode: SHL, .. })) =
        (next, after)
    else {
        return None;
    };
    let more = u32::from(bits.checked_sub(224)?);
    let mut bytes = [0; 4];
    bytes.get_mut(4usize.checked_sub(data.len())?..)?.copy_from_slice(data);
    u32::from_be_bytes(bytes).checked_shl(more).map(u32::to_be_bytes)
}

fn function(bytes: [u8; 4]) -> Option<Selector> {
    (!NO_FUNCTIONS.contains(&bytes)).then(|| Selector::new(bytes))
}

fn selectors(signatures: &[&str]) -> BTreeSet<Selector> {
    let first_four =
        |signature: &&str| keccak256(signature).first_chunk::<4>().map(|bytes| Selector::new(*bytes));
    signatures.iter().filter_map(first_four).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{address, hex};

    const VAULT: Address = address!("1111111111111111111111111111111111111111");

    fn selector(bytes: [u8; 4]) -> BTreeSet<Selector> {
        [Selector::new(bytes)].into()
    }

    #[test]
    fn what_is_compared_is_a_function_and_the_rest_is_called() {
        // dup1; push4; eq; push2; jumpi, then push4 for a call
        let facts = CodeFacts::of(&hex!("80 63aabbccdd 14 610010 57 63a9059cbb 5f 52"));
        assert_eq!(
            (facts.functions, facts.callees),
            (selector([0xaa, 0xbb, 0xcc, 0xdd]), selector(hex!("a9059cbb")))
        );
        // The same with the operands swapped, and a pivot of the dispatcher's search.
        assert_eq!(CodeFacts::of(&hex!("63aabbccdd 81 14")).functions, selector(hex!("aabbccdd")));
        assert_eq!(CodeFacts::of(&hex!("80 63aabbccdd 11")).functions, selector(hex!("aabbccdd")));
    }

    #[test]
    fn functions_are_found_however_a_compiler_writes_them() {
        let wanted = selector(hex!("726e04f6"));
        assert_eq!(CodeFacts::of(&hex!("63726e04f6 60e0 1b")).callees, wanted);
        // Even ones are halved and shifted once more.
        assert_eq!(CodeFacts::of(&hex!("633937027b 60e1 1b")).callees, wanted);
        let word = [&hex!("7f 726e04f6")[..], &[0; 28]].concat();
        assert_eq!(CodeFacts::of(&word).callees, wanted);
        // Error(string), 229 bits to the left; a mask.
        assert!(CodeFacts::of(&hex!("62461bcd 60e5 1b 63ffffffff 16")).callees.is_empty());
    }

    #[test]
    fn a_loan_is_known_by_its_callback() {
        let loan = keccak256("onFlashLoan(address,address,uint256,uint256,bytes)");
        let code = [&hex!("80 63")[..], &loan[..4], &hex!("14")].concat();
        assert!(CodeFacts::of(&code).takes_loans && !CodeFacts::of(&code).swaps);
        let called = [&hex!("63")[..], &loan[..4], &hex!("5f 52")].concat();
        assert!(!CodeFacts::of(&called).takes_loans, "who calls it lends");
        // Known from Aave and Uniswap as deployed.
        assert!(
            LOANS.contains(&Selector::new(hex!("920f5c84")))
                && SWAPS.contains(&Selector::new(hex!("10d1e85c")))
        );
        assert_eq!((LOANS.len(), SWAPS.len()), (LOAN_CALLBACKS.len(), SWAP_CALLBACKS.len()));
    }

    #[test]
    fn addresses_are_found_as_constants_and_as_immutables() {
        let pushed = [&hex!("73")[..], VAULT.as_slice()].concat();
        let immutable = [&hex!("7f 000000000000000000000000")[..], VAULT.as_slice()].concat();
        for code in [&pushed, &immutable] {
            assert_eq!(
                (constant_addresses(code), CodeFacts::of(code).addresses),
                ([VAULT].into(), [VAULT].into())
            );
        }
        let vanity = address!("00000000000000001111111111111111111111ff");
        let short = [&hex!("6b")[..], &vanity[8..]].concat();
        assert_eq!(constant_addresses(&short), [vanity].into());
        // More than an address, a number that is only counted as one where it is large, and one that is cut off.
        assert!(constant_addresses(&[&hex!("74 01")[..], VAULT.as_slice()].concat()).is_empty());
        assert!(CodeFacts::of(&[&[0x7f][..], &[0; 31], &[7]].concat()).addresses.is_empty());
        assert!(constant_addresses(&pushed[..12]).is_empty());
    }

    #[test]
    fn what_the_code_may_do_is_noted() {
        let facts = CodeFacts::of(&hex!("32 ff f5 f4 a1 55 f1"));
        assert!(facts.asks_origin && facts.destroys_itself && facts.creates && facts.delegates);
        assert!(facts.logs && facts.writes && !facts.has_metadata);
        assert_eq!((facts.instructions, facts.calls), (7, 2));
        assert_eq!(
            CodeFacts::of(&hex!("63 32 ff f5 f4")),
            CodeFacts { instructions: 1, callees: selector(hex!("32fff5f4")), ..CodeFacts::default() }
        );
    }
}
