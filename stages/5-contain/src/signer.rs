//! The seam behind which keys live.
//!
//! In: an [`Authorized`], which only the gate can make, and fees. Out: a signed EIP-1559 envelope. Implementations:
//! the encrypted keystore today, a key management service next. Must never take a hash, a message or a transaction
//! that the gate did not see; the transaction is built here and nowhere else.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip2930::AccessList;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind};
use cordon_model::lane::Intent;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::fees::Fees;
use crate::gate::Authorized;

/// A transaction that is signed and not yet sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedEnvelope {
    /// Its nonce.
    pub nonce: u64,
    /// Its hash.
    pub tx_hash: B256,
    /// EIP-2718 bytes, as a node takes them.
    pub raw: Bytes,
    /// Its fees.
    pub fees: Fees,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key's holder failed.
    #[error("the key of {account} could not sign")]
    Key {
        /// Account.
        account: Address,
        /// Cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The signature is not one of the account that must send the step.
    #[error("the signature is of {found}, expected {expected}")]
    WrongAccount {
        /// Account that must send the step.
        expected: Address,
        /// Account that the signature recovers to; zero where it recovers to none.
        found: Address,
    },
}

/// A boxed future, so that a signer may be a remote service.
pub type SignFuture<'a> = Pin<Box<dyn Future<Output = Result<SignedEnvelope, SignError>> + Send + 'a>>;

/// Something that holds one key.
pub trait Signer: Send + Sync + fmt::Debug {
    /// The account of the key.
    fn address(&self) -> Address;

    /// Signs what the gate authorised. The envelope must come from [`seal`].
    fn sign(&self, authorized: Authorized, fees: Fees) -> SignFuture<'_>;
}

/// The transaction that an intent and its fees make; nothing of it is left to the signer.
#[must_use]
pub fn transaction(intent: &Intent, fees: Fees) -> TxEip1559 {
    TxEip1559 {
        chain_id: intent.chain_id.0,
        nonce: intent.nonce,
        gas_limit: intent.gas_limit,
        max_fee_per_gas: fees.max_fee_per_gas_wei,
        max_priority_fee_per_gas: fees.max_priority_fee_per_gas_wei,
        to: intent.call.to.map_or(TxKind::Create, TxKind::Call),
        value: intent.call.value_wei,
        access_list: AccessList::default(),
        input: intent.call.data.clone(),
    }
}

/// Puts a signature on the transaction and checks that it is the right account's.
///
/// # Errors
/// [`SignError::WrongAccount`].
pub fn seal(intent: &Intent, fees: Fees, signature: Signature) -> Result<SignedEnvelope, SignError> {
    let transaction = transaction(intent, fees);
    let signed_by = signature.recover_address_from_prehash(&transaction.signature_hash());
    let found = signed_by.unwrap_or(Address::ZERO);
    if found != intent.from {
        return Err(SignError::WrongAccount { expected: intent.from, found });
    }
    let envelope = TxEnvelope::Eip1559(transaction.into_signed(signature));
    let (tx_hash, raw) = (*envelope.tx_hash(), Bytes::from(envelope.encoded_2718()));
    Ok(SignedEnvelope { nonce: intent.nonce, tx_hash, raw, fees })
}
