//! A key in an encrypted file: Web3 Secret Storage version 3, the format of geth and of every wallet.
//!
//! In: a path and the place where the password is. Out: a [`Signer`]. The password and the key are never part of a
//! configuration, an error or a log line. The file is untrusted: its parameters are checked before anything is
//! derived from it, so a crafted one can neither crash the process nor eat its memory.

use alloy_consensus::SignableTransaction;
use alloy_primitives::{Address, B256};
use alloy_signer::SignerSync;
use alloy_signer::k256::elliptic_curve::rand_core::OsRng;
use alloy_signer_local::{LocalSignerError, PrivateKeySigner};
use eth_keystore::{EthKeystore, KdfparamsType};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::fees::Fees;
use crate::gate::Authorized;
use crate::signer::{SignError, SignFuture, Signer, seal, transaction};

/// Largest keystore or password file that is read. A keystore has about 500 bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Most memory that deriving the key may take: 1 GiB, four times what geth's standard parameters
/// (`n` = 262,144, `r` = 8) need.
const SCRYPT_MEMORY_BYTES_MAX: u64 = 1 << 30;

/// Most work that deriving the key may take, as a multiple of its memory: geth uses 1, the format's test vector 8.
const SCRYPT_P_MAX: u32 = 16;

/// Most rounds of PBKDF2: forty times the 262,144 of the format's test vector.
const PBKDF2_ROUNDS_MAX: u32 = 10_485_760;

/// Where the password is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PasswordSource {
    /// In the environment variable of this name.
    Env(String),
    /// In this file, which holds nothing else; one line end is cut off.
    File(PathBuf),
}

/// Why a keystore could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// A file cannot be read or written.
    #[error("{what} '{path}' cannot be {verb}")]
    File {
        /// Keystore or password file.
        what: &'static str,
        /// What was tried.
        verb: &'static str,
        /// Path.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The file is something else.
    #[error("'{path}' is not a keystore of Web3 Secret Storage version 3: {reason}")]
    NotAKeystore {
        /// Path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The password does not open it.
    #[error("the password does not open keystore '{path}'")]
    WrongPassword {
        /// Path.
        path: PathBuf,
    },
    /// The key is another account's than the configured one.
    #[error("keystore '{path}' holds the key of {found}, configured is {expected}")]
    WrongAccount {
        /// Path.
        path: PathBuf,
        /// Account that was configured.
        expected: Address,
        /// Account of the key.
        found: Address,
    },
    /// No password where one should be.
    #[error("no password: environment variable '{name}' is not set or not text")]
    PasswordMissing {
        /// Name of the variable.
        name: String,
    },
}

impl PasswordSource {
    /// Reads the password.
    ///
    /// # Errors
    /// [`KeystoreError::PasswordMissing`] or [`KeystoreError::File`].
    pub fn read(&self) -> Result<SecretString, KeystoreError> {
        match self {
            Self::Env(name) => std::env::var(name)
                .map(SecretString::from)
                .map_err(|_| KeystoreError::PasswordMissing { name: name.clone() }),
            Self::File(path) => {
                let mut password = read_text("password file", path)?;
                if password.ends_with('\n') {
                    password.pop();
                    if password.ends_with('\r') {
                        password.pop();
                    }
                }
                Ok(SecretString::from(password))
            }
        }
    }
}

/// The signer over one decrypted keystore.
pub struct KeystoreSigner {
    key: PrivateKeySigner,
}

impl fmt::Debug for KeystoreSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeystoreSigner").field("address", &self.key.address()).finish_non_exhaustive()
    }
}

impl KeystoreSigner {
    /// Opens a keystore and checks that it holds the configured account. Takes about a second of computing for a
    /// keystore with strong parameters, so it belongs to start-up and not into a running task.
    ///
    /// # Errors
    /// [`KeystoreError`].
    pub fn open(path: &Path, password: &PasswordSource, expected: Address) -> Result<Self, KeystoreError> {
        Self::decrypt(path, &password.read()?, expected)
    }

    /// [`Self::open`] with a password at hand.
    ///
    /// # Errors
    /// [`KeystoreError`].
    pub fn decrypt(path: &Path, password: &SecretString, expected: Address) -> Result<Self, KeystoreError> {
        let text = read_text("keystore", path)?;
        let not_a_keystore = |reason| KeystoreError::NotAKeystore { path: path.to_owned(), reason };
        let keystore: EthKeystore =
            serde_json::from_str(&text).map_err(|error| not_a_keystore(error.to_string()))?;
        check_parameters(&keystore).map_err(not_a_keystore)?;
        let key = PrivateKeySigner::decrypt_keystore(path, password.expose_secret()).map_err(|error| {
            if let LocalSignerError::EthKeystoreError(eth_keystore::KeystoreError::MacMismatch) = error {
                KeystoreError::WrongPassword { path: path.to_owned() }
            } else {
                not_a_keystore(error.to_string())
            }
        })?;
        let found = key.address();
        if found != expected {
            return Err(KeystoreError::WrongAccount { path: path.to_owned(), expected, found });
        }
        Ok(Self { key })
    }
}

impl Signer for KeystoreSigner {
    fn address(&self) -> Address {
        self.key.address()
    }

    fn sign(&self, authorized: Authorized, fees: Fees) -> SignFuture<'_> {
        Box::pin(async move {
            let intent = authorized.intent();
            let digest = transaction(intent, fees).signature_hash();
            let signature = self
                .key
                .sign_hash_sync(&digest)
                .map_err(|source| SignError::Key { account: self.address(), source: Box::new(source) })?;
            seal(intent, fees, signature)
        })
    }
}

/// Writes a private key as a keystore into a directory and returns the file's path. On Unix only its owner may read
/// it.
///
/// The scrypt parameters are those of the library, `n` = 8,192, `r` = 8, `p` = 1: derived within milliseconds, which
/// suits drills and tests. A key that guards value is better made by a wallet with stronger parameters; such files
/// are read as well.
///
/// # Errors
/// [`KeystoreError::File`], or [`KeystoreError::NotAKeystore`] where the key is not one of secp256k1.
pub fn create_keystore(
    dir: &Path,
    private_key: B256,
    password: &SecretString,
) -> Result<PathBuf, KeystoreError> {
    let failed = |path: &Path, source| KeystoreError::File {
        what: "keystore",
        verb: "written",
        path: path.to_owned(),
        source,
    };
    let invalid = |reason: String| KeystoreError::NotAKeystore { path: dir.to_owned(), reason };
    let signer = PrivateKeySigner::from_bytes(&private_key)
        .map_err(|_| invalid("the private key is not one of secp256k1".to_owned()))?;
    let name = format!("{:#x}.json", signer.address());
    let path = dir.join(&name);
    // The library would take over an existing file with its mode; a new one is made private before it has content.
    create_private(&path).map_err(|source| failed(&path, source))?;
    PrivateKeySigner::encrypt_keystore(dir, &mut OsRng, private_key, password.expose_secret(), Some(&name))
        .map_err(|error| failed(&path, io::Error::other(error)))?;
    Ok(path)
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create_new(true).open(path).map(drop)
}

fn read_text(what: &'static str, path: &Path) -> Result<String, KeystoreError> {
    let failed = |source| KeystoreError::File { what, verb: "read", path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        let reason = format!("{bytes} bytes is more than the {FILE_BYTES_MAX} that are read");
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, reason)));
    }
    fs::read_to_string(path).map_err(failed)
}

/// Refuses parameters that the library would panic on or that would eat the machine.
fn check_parameters(keystore: &EthKeystore) -> Result<(), String> {
    let crypto = &keystore.crypto;
    if keystore.version != 3 {
        return Err(format!("its version is {}", keystore.version));
    }
    if crypto.cipher != "aes-128-ctr" {
        return Err(format!("its cipher is '{}', expected 'aes-128-ctr'", crypto.cipher));
    }
    if crypto.cipherparams.iv.len() != 16 {
        return Err(format!(
            "its initialisation vector has {} bytes, expected 16",
            crypto.cipherparams.iv.len()
        ));
    }
    if crypto.ciphertext.len() != 32 {
        return Err(format!("its ciphertext has {} bytes, expected 32", crypto.ciphertext.len()));
    }
    let key_bytes = match crypto.kdfparams {
        KdfparamsType::Pbkdf2 { c, dklen, .. } => {
            if c > PBKDF2_ROUNDS_MAX {
                return Err(format!("its {c} rounds of pbkdf2 are over {PBKDF2_ROUNDS_MAX}"));
            }
            dklen
        }
        KdfparamsType::Scrypt { dklen, n, p, r, .. } => {
            let memory_bytes = u64::from(n).saturating_mul(u64::from(r)).saturating_mul(128);
            if !n.is_power_of_two() || memory_bytes > SCRYPT_MEMORY_BYTES_MAX || p > SCRYPT_P_MAX {
                return Err(format!("its scrypt parameters n = {n}, r = {r}, p = {p} are out of bounds"));
            }
            dklen
        }
    };
    if key_bytes != 32 {
        return Err(format!("its derived key has {key_bytes} bytes, expected 32"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{address, b256};

    /// The key of the format's test vectors (password "testpassword"), with geth's standard scrypt parameters as
    /// ethers 6.17 encrypts it, and the format's own PBKDF2 vector. Its own scrypt vector (`r` = 1, `n` = 2^18) breaks
    /// the bound of RFC 7914 on `n` and is refused.
    const SCRYPT: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"83dbcc02d8ccb40e466191a123791e0e"},"ciphertext":"b160ff7e6d855b53a3f8d65e4b2850584cfaa01751807f19d07c298de16f802d","kdf":"scrypt","kdfparams":{"salt":"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19","n":262144,"dklen":32,"p":1,"r":8},"mac":"daeeba49ffae86381ae33f74c05dc0038888a7806267a04a1ae2183a7f2b7b17"},"id":"3198bc9c-6672-4ab3-9995-4942343ae5b6","version":3}"#;
    const PBKDF2: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},"ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2","kdfparams":{"c":262144,"dklen":32,"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},"mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;
    const VECTOR_ACCOUNT: Address = address!("0x008aeeda4d805471df9b2a5b0f38a0c3bcba786b");

    const KEY: B256 = b256!("0x00000000000000000000000000000000000000000000000000000000000000a1");

    fn account() -> Address {
        PrivateKeySigner::from_bytes(&KEY).unwrap().address()
    }

    fn written(dir: &tempfile::TempDir, text: &str) -> PathBuf {
        let path = dir.path().join("key.json");
        fs::write(&path, text).unwrap();
        path
    }

    fn open(text: &str) -> Result<KeystoreSigner, KeystoreError> {
        let dir = tempfile::tempdir().unwrap();
        KeystoreSigner::decrypt(&written(&dir, text), &"testpassword".into(), VECTOR_ACCOUNT)
    }

    #[test]
    fn the_vectors_of_the_format_open() {
        assert_eq!(open(SCRYPT).unwrap().address(), VECTOR_ACCOUNT);
        assert_eq!(open(PBKDF2).unwrap().address(), VECTOR_ACCOUNT);
    }

    #[test]
    fn a_created_keystore_opens_with_its_password_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = create_keystore(dir.path(), KEY, &"right".into()).unwrap();
        assert_eq!(KeystoreSigner::decrypt(&path, &"right".into(), account()).unwrap().address(), account());
        let wrong = KeystoreSigner::decrypt(&path, &"wrong".into(), account()).unwrap_err();
        assert!(matches!(wrong, KeystoreError::WrongPassword { .. }), "{wrong}");
        let other = KeystoreSigner::decrypt(&path, &"right".into(), VECTOR_ACCOUNT).unwrap_err();
        assert!(matches!(other, KeystoreError::WrongAccount { found, .. } if found == account()), "{other}");
        assert!(create_keystore(dir.path(), KEY, &"again".into()).is_err(), "a key is never overwritten");
    }

    #[cfg(unix)]
    #[test]
    fn a_created_keystore_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = create_keystore(dir.path(), KEY, &"right".into()).unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn nothing_secret_is_printed() {
        let dir = tempfile::tempdir().unwrap();
        let path = create_keystore(dir.path(), KEY, &"right".into()).unwrap();
        let signer = KeystoreSigner::decrypt(&path, &"right".into(), account()).unwrap();
        let text = format!("{signer:?}");
        assert_eq!(text, format!("KeystoreSigner {{ address: {:?}, .. }}", account()));
    }

    #[test]
    fn a_missing_file_and_a_foreign_file_are_told_apart() {
        let missing =
            KeystoreSigner::decrypt(Path::new("/nonexistent/key"), &"x".into(), account()).unwrap_err();
        assert!(missing.to_string().starts_with("keystore '/nonexistent/key' cannot be read"), "{missing}");
        for text in ["", "{", "[]", "0xdeadbeef", r#"{"version":3}"#] {
            assert!(matches!(open(text), Err(KeystoreError::NotAKeystore { .. })), "{text}");
        }
    }

    #[test]
    fn hostile_parameters_are_refused_before_anything_is_derived() {
        let hostile = [
            ("\"n\":262144", "\"n\":1073741824"),
            ("\"r\":8", "\"r\":1"),
            ("\"n\":262144", "\"n\":0"),
            ("\"n\":262144", "\"n\":262143"),
            ("\"p\":1", "\"p\":4000000000"),
            ("\"dklen\":32", "\"dklen\":8"),
            ("83dbcc02d8ccb40e466191a123791e0e", "83"),
            ("b160ff7e6d855b53a3f8d65e4b2850584cfaa01751807f19d07c298de16f802d", ""),
            ("aes-128-ctr", "aes-128-cbc"),
            ("\"version\":3", "\"version\":1"),
        ];
        for (from, to) in hostile {
            let text = SCRYPT.replace(from, to);
            assert_ne!(text, SCRYPT);
            assert!(matches!(open(&text), Err(KeystoreError::NotAKeystore { .. })), "{to}");
        }
    }

    #[test]
    fn the_password_comes_from_a_file_or_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        for (text, password) in
            [("pass\n", "pass"), ("pass\r\n", "pass"), ("pa ss", "pa ss"), ("a\n\n", "a\n")]
        {
            let source = PasswordSource::File(written(&dir, text));
            assert_eq!(source.read().unwrap().expose_secret(), password);
        }
        let unset = PasswordSource::Env("CORDON_TEST_PASSWORD_THAT_NOBODY_SETS".to_owned());
        let error = unset.read().unwrap_err().to_string();
        assert!(error.contains("'CORDON_TEST_PASSWORD_THAT_NOBODY_SETS'"), "{error}");
    }
}
