//! The events and functions by which governors are known.
//!
//! In: nothing. Out: hashes of public interfaces, made from their signatures so that they can be read and checked. Must
//! never: hold an address.

use alloy_primitives::map::B256Map;
use alloy_primitives::{B256, Selector, keccak256};
use cordon_model::finding::sign::VoteStep;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Events: what they tell, and which word of the data is a vote's weight.
const EVENTS: [(&str, VoteStep, Option<usize>); 17] = [
    // OpenZeppelin's Governor, and Compound's Alpha and Bravo, whose proposals are logged alike.
    (
        "ProposalCreated(uint256,address,address[],uint256[],string[],bytes[],uint256,uint256,string)",
        VoteStep::Proposed,
        None,
    ),
    ("VoteCast(address,uint256,uint8,uint256,string)", VoteStep::Voted, Some(2)),
    ("VoteCastWithParams(address,uint256,uint8,uint256,string,bytes)", VoteStep::Voted, Some(2)),
    ("VoteCast(address,uint256,bool,uint256)", VoteStep::Voted, Some(3)),
    ("ProposalQueued(uint256,uint256)", VoteStep::Queued, None),
    ("ProposalExecuted(uint256)", VoteStep::Executed, None),
    // Tornado Cash.
    ("ProposalCreated(uint256,address,address,uint256,uint256,string)", VoteStep::Proposed, None),
    ("Voted(uint256,address,bool,uint256)", VoteStep::Voted, Some(0)),
    // Beanstalk.
    ("Proposal(address,uint32,uint256,uint256)", VoteStep::Proposed, None),
    ("Vote(address,uint32,uint256)", VoteStep::Voted, Some(0)),
    ("Commit(address,uint32)", VoteStep::Executed, None),
    // Aragon's Voting, first and second form.
    ("StartVote(uint256,address,string)", VoteStep::Proposed, None),
    ("CastVote(uint256,address,bool,uint256)", VoteStep::Voted, Some(1)),
    ("ExecuteVote(uint256)", VoteStep::Executed, None),
    // Aave, second form.
    ("VoteEmitted(uint256,address,bool,uint256)", VoteStep::Voted, Some(2)),
    ("ProposalQueued(uint256,uint256,address)", VoteStep::Queued, None),
    ("ProposalExecuted(uint256,address)", VoteStep::Executed, None),
];

/// Functions of MakerDAO's chief, which logs the selector of a call as the first topic.
const NOTED: [(&str, VoteStep); 3] = [
    ("vote(address[])", VoteStep::Voted),
    ("vote(bytes32)", VoteStep::Voted),
    ("lift(address)", VoteStep::Executed),
];

/// Functions, for records without logs.
const FUNCTIONS: [(&str, VoteStep); 20] = [
    ("propose(address[],uint256[],bytes[],string)", VoteStep::Proposed),
    ("propose(address[],uint256[],string[],bytes[],string)", VoteStep::Proposed),
    ("propose(address,string)", VoteStep::Proposed),
    ("propose((address,uint8,bytes4[])[],address,bytes,uint8)", VoteStep::Proposed),
    ("castVote(uint256,uint8)", VoteStep::Voted),
    ("castVote(uint256,bool)", VoteStep::Voted),
    ("castVoteWithReason(uint256,uint8,string)", VoteStep::Voted),
    ("castVoteBySig(uint256,uint8,uint8,bytes32,bytes32)", VoteStep::Voted),
    ("castDelegatedVote(address[],uint256,bool)", VoteStep::Voted),
    ("vote(uint32)", VoteStep::Voted),
    ("voteAll(uint32[])", VoteStep::Voted),
    ("vote(uint256,bool,bool)", VoteStep::Voted),
    ("submitVote(uint256,bool)", VoteStep::Voted),
    ("queue(uint256)", VoteStep::Queued),
    ("queue(address[],uint256[],bytes[],bytes32)", VoteStep::Queued),
    ("execute(uint256)", VoteStep::Executed),
    ("execute(address[],uint256[],bytes[],bytes32)", VoteStep::Executed),
    ("commit(uint32)", VoteStep::Executed),
    ("emergencyCommit(uint32)", VoteStep::Executed),
    ("executeVote(uint256)", VoteStep::Executed),
];

/// One event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub(super) what: VoteStep,
    pub(super) weight_word: Option<usize>,
}

/// The lists above, hashed.
#[derive(Debug)]
pub(super) struct Words {
    /// First topics.
    pub(super) events: B256Map<Event>,
    /// Functions, for records without logs.
    pub(super) functions: BTreeMap<Selector, VoteStep>,
    /// The event by which a token tells that a delegate's votes changed.
    pub(super) delegated: B256,
}

/// See [`Words`].
pub(super) static WORDS: LazyLock<Words> = LazyLock::new(|| {
    let function = |text: &str| Selector::from_slice(keccak256(text).get(..4).unwrap_or(&[0; 4]));
    let told = EVENTS
        .iter()
        .map(|(text, what, weight_word)| (keccak256(text), Event { what: *what, weight_word: *weight_word }));
    let noted = NOTED.iter().map(|(text, what)| {
        (B256::right_padding_from(function(text).as_slice()), Event { what: *what, weight_word: None })
    });
    Words {
        events: told.chain(noted).collect(),
        functions: FUNCTIONS.iter().chain(&NOTED).map(|(text, what)| (function(text), *what)).collect(),
        delegated: keccak256("DelegateVotesChanged(address,uint256,uint256)"),
    }
});
