//! Who allowed whom to take what, by signature or by a call of his own.
//!
//! In: calls and their calldata. Out: [`Grants`], to be looked up by owner, token and spender. Must never: trust an offset or
//! a length that the calldata names.

use alloy_primitives::{Address, Selector, U256, keccak256};
use cordon_model::execution::{Execution, Frame, FrameKind};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Tokens read from one permit for several. Drainers of the field ask for all that a wallet holds, some dozens.
const BATCH_MAX: usize = 64;

/// How the calldata of a function names owner, spender, token and amount.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// `(owner, spender, amount, ..)` of the token itself; ERC-2612.
    Permit,
    /// `(holder, spender, nonce, expiry, allowed, ..)`; DAI.
    DaiPermit,
    /// `(owner, ((token, amount, ..), spender, ..), signature)`; Permit2.
    Permit2,
    /// The same with a list of tokens.
    Permit2Batch,
    /// `(((token, amount), ..), (to, amount), owner, signature)`: the caller takes what was signed; Permit2.
    PermitTransfer,
    /// The same with lists.
    PermitTransferBatch,
    /// `(spender, amount)` by the owner.
    Approve,
    /// `(token, spender, amount, ..)` by the owner; Permit2.
    Permit2Approve,
}

pub(super) const FUNCTIONS: [(&str, Shape); 10] = [
    ("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", Shape::Permit),
    ("permit(address,address,uint256,uint256,bytes)", Shape::Permit),
    ("permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)", Shape::DaiPermit),
    ("permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)", Shape::Permit2),
    ("permit(address,((address,uint160,uint48,uint48)[],address,uint256),bytes)", Shape::Permit2Batch),
    (
        "permitTransferFrom(((address,uint256),uint256,uint256),(address,uint256),address,bytes)",
        Shape::PermitTransfer,
    ),
    (
        "permitTransferFrom(((address,uint256)[],uint256,uint256),(address,uint256)[],address,bytes)",
        Shape::PermitTransferBatch,
    ),
    ("approve(address,uint256)", Shape::Approve),
    ("setApprovalForAll(address,bool)", Shape::Approve),
    ("approve(address,address,uint160,uint48)", Shape::Permit2Approve),
];

static SHAPES: LazyLock<BTreeMap<Selector, Shape>> = LazyLock::new(|| {
    let function = |text: &str| Selector::from_slice(keccak256(text).get(..4).unwrap_or(&[0; 4]));
    FUNCTIONS.iter().map(|(text, shape)| (function(text), *shape)).collect()
});

/// Whose, of which token, to whom. Without a token, of any: a permit for a list that is not read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Grant {
    pub(super) owner: Address,
    pub(super) token: Option<Address>,
    pub(super) spender: Address,
    /// Who keeps the allowance: the token, or Permit2.
    pub(super) keeper: Address,
}

/// When a grant was first made, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) seq: u32,
    /// By signature; otherwise by a call of the owner's.
    pub(super) signed: bool,
}

/// Everything that was allowed and not just taken back.
#[derive(Debug, Default)]
pub(super) struct Grants(BTreeMap<Grant, Made>);

impl Grants {
    pub(super) fn of(execution: &Execution) -> Self {
        let mut grants = Self::default();
        let calls = execution.frames.iter().filter(|frame| frame.kind == FrameKind::Call && !frame.reverted);
        for frame in calls {
            let shape = frame.selector().and_then(|selector| SHAPES.get(&selector));
            if let Some(shape) = shape {
                grants.read(frame, *shape);
            }
        }
        grants
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Grant, &Made)> {
        self.0.iter()
    }

    /// The grant by which a spender may take this token.
    pub(super) fn by(
        &self,
        owner: Address,
        token: Address,
        spender: Address,
        keeper: Address,
    ) -> Option<(&Grant, &Made)> {
        let grant = |token| Grant { owner, token, spender, keeper };
        self.0.get_key_value(&grant(Some(token))).or_else(|| self.0.get_key_value(&grant(None)))
    }

    fn read(&mut self, frame: &Frame, shape: Shape) {
        let words = Words(frame.input.get(4..).unwrap_or_default());
        let (account, amount) = (|at| words.account(at), |at| words.number(at));
        let caller = Some(frame.caller);
        let own = Some(frame.address);
        // Owner, spender, token, amount, and whether it was signed.
        let read = match shape {
            Shape::Permit => (account(0), account(1), own, amount(2), true),
            Shape::DaiPermit => (account(0), account(1), own, amount(4), true),
            Shape::Permit2 => (account(0), account(5), account(1), amount(2), true),
            Shape::PermitTransfer => (account(6), caller, account(0), amount(1), true),
            Shape::Approve => (caller, account(0), own, amount(1), false),
            Shape::Permit2Approve => (caller, account(1), account(0), amount(2), false),
            Shape::PermitTransferBatch => (account(2), caller, None, Some(U256::ONE), true),
            Shape::Permit2Batch => return self.read_batch(frame, &words),
        };
        let (Some(owner), Some(spender), token, Some(amount), signed) = read else { return };
        let names_no_token = token.is_none() && !matches!(shape, Shape::PermitTransferBatch);
        if !amount.is_zero() && !names_no_token {
            let grant = Grant { owner, token, spender, keeper: frame.address };
            self.note(grant, Made { seq: frame.enter_seq, signed });
        }
    }

    fn read_batch(&mut self, frame: &Frame, words: &Words<'_>) {
        let made = Made { seq: frame.enter_seq, signed: true };
        let inner = || {
            let permit = words.below(1)?;
            Some((words.account(0)?, permit.account(1)?, permit.below(0)?))
        };
        let Some((owner, spender, list)) = inner() else { return };
        let length = list.number(0).unwrap_or_default().saturating_to::<usize>();
        for entry in 0..length.min(BATCH_MAX) {
            let at = entry.saturating_mul(4).saturating_add(1);
            let Some(token) = list.account(at) else { return };
            self.note(Grant { owner, token: Some(token), spender, keeper: frame.address }, made);
        }
    }

    fn note(&mut self, grant: Grant, made: Made) {
        if grant.owner != grant.spender {
            self.0.entry(grant).or_insert(made);
        }
    }
}

/// Calldata in words of 32 bytes.
#[derive(Debug, Clone, Copy)]
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn number(&self, at: usize) -> Option<U256> {
        let from = at.checked_mul(32)?;
        self.0.get(from..from.checked_add(32)?).map(U256::from_be_slice)
    }

    fn account(&self, at: usize) -> Option<Address> {
        self.number(at).and_then(crate::members::as_address)
    }

    /// What the offset in a word points to.
    fn below(&self, at: usize) -> Option<Self> {
        let offset = usize::try_from(self.number(at)?).ok()?;
        self.0.get(offset..).map(Self)
    }
}
