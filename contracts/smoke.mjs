// Proves on a real node that the contracts do what their comments say: honest use, the strike, the pause, the wrong
// and the right fix, and the repayment of the lenders.
//
// In: contracts/artifacts and the anvil binary of the pinned npm package (or the one that ANVIL names). Out: one line
// per fact with gas and amounts; exit 1 at the first fact that does not hold. It must never use a node that it did not
// start itself, because it spends the node's unlocked accounts freely.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { StandardMerkleTree } from "@openzeppelin/merkle-tree";
import { AbiCoder, Interface, formatEther, parseEther } from "ethers";

const here = dirname(fileURLToPath(import.meta.url));
const anvilPath = process.env.ANVIL ?? join(here, "../node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");

// Polls of 20 ms: ten seconds for a node to start or a transaction to be mined, far more than either takes.
const POLLS_MAX = 500;
const POLL_MS = 20;

let url;
let requestId = 0;

async function rpc(method, ...params) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: (requestId += 1), method, params }),
  });
  const { result, error } = await response.json();
  if (error) throw Object.assign(new Error(error.message), { data: error.data });
  return result;
}

async function poll(what, attempt) {
  for (let i = 0; i < POLLS_MAX; i += 1) {
    const value = await attempt();
    if (value) return value;
    await sleep(POLL_MS);
  }
  throw new Error(`gave up waiting for ${what}`);
}

async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

async function awaitStart(node) {
  let failure;
  node.on("error", (error) => (failure = error));
  await poll("anvil to start", async () => {
    if (failure) throw new Error(`cannot start ${anvilPath}: ${failure.message}`);
    return rpc("eth_chainId").catch(() => null);
  });
}

// ---- Contracts ------------------------------------------------------------------------------------------------------

const interfaces = new Map();

function artifact(name) {
  const parsed = JSON.parse(readFileSync(join(here, "artifacts", `${name}.json`), "utf8"));
  interfaces.set(name, new Interface(parsed.abi));
  return parsed;
}

async function mine(transaction) {
  const hash = await rpc("eth_sendTransaction", transaction);
  return poll(hash, () => rpc("eth_getTransactionReceipt", hash));
}

async function deploy(from, name, ...args) {
  const { bytecode } = artifact(name);
  const receipt = await mine({ from, data: bytecode + interfaces.get(name).encodeDeploy(args).slice(2) });
  assert.equal(receipt.status, "0x1", `${name} must deploy`);
  return at(name, receipt.contractAddress);
}

/** A contract that is called as `read(fn, ...)` or `send(from, fn, ...)`. `send` never estimates: failures must mine. */
function at(name, address) {
  const abi = interfaces.get(name);
  return {
    address,
    abi,
    encode: (fn, ...args) => abi.encodeFunctionData(fn, args),
    read: async (fn, ...args) =>
      abi.decodeFunctionResult(fn, await rpc("eth_call", { to: address, data: abi.encodeFunctionData(fn, args) }, "latest"))[0],
    send: async (from, fn, ...args) =>
      mine({ from, to: address, data: abi.encodeFunctionData(fn, args), gas: "0x7a1200" }),
  };
}

async function ok(contract, from, fn, ...args) {
  const receipt = await contract.send(from, fn, ...args);
  assert.equal(receipt.status, "0x1", `${fn} must succeed`);
  return receipt;
}

/** Sends a transaction that must be mined and fail, and returns the name of the error that it reverted with. */
async function fails(contract, from, fn, ...args) {
  const receipt = await contract.send(from, fn, ...args);
  assert.equal(receipt.status, "0x0", `${fn} must fail`);
  try {
    await rpc("eth_call", { from, to: contract.address, data: contract.encode(fn, ...args) }, "latest");
  } catch (error) {
    for (const abi of interfaces.values()) {
      const parsed = error.data && abi.parseError(error.data);
      if (parsed) return parsed.name;
    }
  }
  return "unknown error";
}

// ---- The story ------------------------------------------------------------------------------------------------------

const wad = parseEther;
const show = (amount) => Number(formatEther(amount)).toLocaleString("en", { maximumFractionDigits: 2 });
const gas = (receipt) => Number(receipt.gasUsed).toLocaleString("en");
const say = (...parts) => console.log(...parts);

/** Runs `story` and then takes the chain back to where it was. */
async function aside(story) {
  const snapshot = await rpc("evm_snapshot");
  await story();
  assert.equal(await rpc("evm_revert", snapshot), true);
}

async function deployMarket(who) {
  const usd = await deploy(who.admin, "DrillToken", "Drill Dollar", "dUSD", who.admin);
  const coin = await deploy(who.admin, "DrillToken", "Staked Ether", "sETH", who.admin);
  const pool = await deploy(who.admin, "CollateralVault", coin.address, "Vault Staked Ether", "vsETH", who.admin, who.pauser);
  const implementation = await deploy(who.admin, "LendingVault");
  const init = implementation.encode(
    "initialize", usd.address, pool.address, wad("2000"), who.admin, who.pauser, who.upgrader,
  );
  const proxy = await deploy(who.admin, "ERC1967Proxy", implementation.address, init);
  const vault = at("LendingVault", proxy.address);
  assert.equal(await fails(implementation, who.attacker, "initialize", usd.address, pool.address, 1n,
    who.attacker, who.attacker, who.attacker), "InvalidInitialization");
  return { usd, coin, pool, vault };
}

async function honestUse({ usd, coin, pool, vault }, who) {
  const deposits = [[who.lenderA, wad("2500000")], [who.lenderB, wad("1500000")], [who.lenderC, wad("1000000")]];
  for (const [lender, assets] of deposits) {
    await ok(usd, who.admin, "mint", lender, assets);
    await ok(usd, lender, "approve", vault.address, assets);
    await ok(vault, lender, "deposit", assets, lender);
  }
  await ok(coin, who.admin, "mint", who.borrower, wad("2"));
  await ok(coin, who.borrower, "approve", pool.address, wad("2"));
  await ok(pool, who.borrower, "deposit", wad("2"), who.borrower);

  await aside(async () => {
    await ok(coin, who.admin, "mint", who.lenderA, wad("101"));
    await ok(coin, who.lenderA, "approve", pool.address, wad("101"));
    await ok(pool, who.lenderA, "deposit", wad("101"), who.lenderA);
    await ok(pool, who.lenderA, "approve", vault.address, wad("101"));
    assert.equal(await fails(vault, who.lenderA, "supplyCollateral", wad("101")), "CollateralCapExceeded");
    await ok(vault, who.lenderA, "supplyCollateral", wad("100"));
    const limit = await vault.read("borrowLimitOf", who.lenderA);
    assert.equal(limit, wad("160000"));
    say(`limit of one account at the share cap without a donation: ${show(limit)} dUSD`);
  });
  await zapRoundTrip({ usd, pool, vault }, who, "V1");
}

/** Opens and closes an honest leveraged position; everything must end as it began. */
async function zapRoundTrip({ usd, pool, vault }, who, version) {
  await aside(async () => {
    const zap = await deploy(who.borrower, "LeverageZap", pool.address, vault.address);
    const before = await usd.read("balanceOf", who.borrower);
    await ok(pool, who.borrower, "approve", zap.address, wad("2"));
    const opened = await ok(zap, who.borrower, "open", wad("2"), wad("3000"));
    assert.equal(await usd.read("balanceOf", who.borrower), before + wad("3000"));
    assert.equal(await vault.read("debtOf", zap.address), wad("3000"));
    assert.equal(await fails(zap, who.borrower, "close", 0n, wad("2")), "BorrowLimitExceeded");
    await ok(usd, who.borrower, "approve", zap.address, wad("3000"));
    const closed = await ok(zap, who.borrower, "close", wad("3000"), wad("2"));
    assert.equal(await vault.read("debtOf", zap.address), 0n);
    assert.equal(await pool.read("balanceOf", who.borrower), wad("2"));
    say(`honest zap on ${version}: opened with 3,000 dUSD and closed; gas ${gas(opened)} and ${gas(closed)}`);
  });
}

async function strike({ usd, coin, pool, vault }, controller, who, label) {
  const cash = await usd.read("balanceOf", vault.address);
  const loot = await usd.read("balanceOf", who.attacker);
  const receipt = await ok(controller, who.attacker, "strike", 0n);
  const taken = (await usd.read("balanceOf", who.attacker)) - loot;
  assert.equal(await usd.read("balanceOf", vault.address), cash - taken);
  const drainers = receipt.logs
    .filter((log) => log.address === vault.address && log.topics[0] === vault.abi.getEvent("Borrowed").topicHash)
    .map((log) => AbiCoder.defaultAbiCoder().decode(["address"], log.topics[1])[0]);
  assert.equal(drainers.length, 1);
  assert.equal(await vault.read("collateralOf", drainers[0]), 0n);
  assert.equal(await vault.read("debtOf", drainers[0]), taken);
  say(
    `${label}: ${show(taken)} dUSD taken of ${show(cash)} (${show((taken * wad("100")) / cash)} %), gas ${gas(receipt)},`,
    `attacker keeps ${show(await coin.read("balanceOf", controller.address))} sETH,`,
    `rate now ${show(await pool.read("convertToAssets", wad("1")))}`,
  );
  return { taken, drainer: drainers[0] };
}

async function main() {
  const accounts = await rpc("eth_accounts");
  const [admin, pauser, upgrader, lenderA, lenderB, lenderC, borrower, attacker, relayer] = accounts;
  const who = { admin, pauser, upgrader, lenderA, lenderB, lenderC, borrower, attacker, relayer };
  const market = await deployMarket(who);
  const { usd, coin, pool, vault } = market;
  await honestUse(market, who);

  const controller = await deploy(attacker, "DrainController", pool.address, vault.address, wad("100"));
  artifact("Drainer");
  await ok(coin, admin, "mint", controller.address, wad("500"));
  await aside(async () => {
    for (let i = 1; i <= 8; i += 1) await strike(market, controller, who, `undefended strike ${i}`);
  });
  const first = await strike(market, controller, who, "strike 1");
  assert.ok(first.taken > wad("700000"));

  // Containment.
  assert.equal(await fails(vault, attacker, "pause"), "AccessControlUnauthorizedAccount");
  const paused = await ok(vault, pauser, "pause");
  say(`pause: gas ${gas(paused)}; strike 2 then fails with ${await fails(controller, attacker, "strike", 0n)}`);
  assert.equal(await fails(vault, pauser, "unpause"), "AccessControlUnauthorizedAccount");
  assert.equal(await fails(vault, lenderA, "redeem", 1n, lenderA, lenderA), "EnforcedPause");
  await aside(async () => {
    await ok(usd, admin, "mint", relayer, 5n);
    await ok(usd, relayer, "approve", vault.address, 5n);
    await ok(vault, relayer, "repay", first.drainer, 5n);
    say("repayment stays open in the pause");
  });
  await aside(async () => {
    await ok(pool, pauser, "pause");
    await ok(vault, admin, "unpause");
    say(`pause of the collateral vault alone: strike 2 fails with ${await fails(controller, attacker, "strike", 0n)}`);
  });

  // The fixes.
  const wrong = await deploy(admin, "LendingVaultV2Wrong");
  const broken = await deploy(admin, "LendingVaultV2BadLayout");
  const right = await deploy(admin, "LendingVaultV2");
  const finish = right.encode("initializeV2", wad("1.05"));
  assert.equal(finish, wrong.encode("initializeV2", wad("1.05")));
  await aside(async () => {
    await ok(vault, upgrader, "upgradeToAndCall", wrong.address, finish);
    await ok(vault, admin, "unpause");
    await strike(market, controller, who, "strike 2 against the wrong fix");
  });
  await aside(async () => {
    await ok(vault, upgrader, "upgradeToAndCall", broken.address, finish);
    const collateral = await vault.read("collateral");
    assert.notEqual(BigInt(collateral), BigInt(pool.address));
    say(`layout-breaking fix: collateral() now answers ${collateral}`);
  });
  assert.equal(await fails(vault, attacker, "upgradeToAndCall", right.address, finish), "AccessControlUnauthorizedAccount");
  const upgraded = await ok(vault, upgrader, "upgradeToAndCall", right.address, finish);
  const fixed = at("LendingVaultV2", vault.address);
  await aside(async () => {
    await ok(vault, admin, "unpause");
    const most = await fails(controller, attacker, "strike", 0n);
    const same = await fails(controller, attacker, "strike", first.taken);
    say(`V2: upgrade gas ${gas(upgraded)}; strike(0) fails with ${most}, the first strike's amount with ${same}`);
    await zapRoundTrip(market, who, "V2");
  });

  // Recovery: the loss becomes visible, the vault reopens, the lenders are paid.
  const shares = await vault.read("balanceOf", lenderB);
  const worth = await vault.read("convertToAssets", shares);
  await ok(fixed, admin, "writeOff", first.drainer);
  const left = await vault.read("convertToAssets", shares);
  say(`write-off: lender B's shares go from ${show(worth)} to ${show(left)} dUSD`);
  assert.equal(await vault.read("totalAssets"), wad("5000000") - first.taken);
  await payBack(market, who, worth - left);
  await ok(vault, admin, "unpause");
  await ok(vault, lenderB, "redeem", shares, lenderB, lenderB);
  const end = await usd.read("balanceOf", lenderB);
  assert.equal(end, worth);
  say(`lender B leaves with ${show(end)} dUSD, whole to the base unit`);
}

async function payBack({ usd }, who, loss) {
  const tree = StandardMerkleTree.of([[who.lenderB, loss], [who.lenderA, 7n], [who.lenderC, 9n]], ["address", "uint256"]);
  const { timestamp } = await rpc("eth_getBlockByNumber", "latest", false);
  const deadline = BigInt(timestamp) + 86_400n;
  const claim = await deploy(who.admin, "MerkleClaim", usd.address, tree.root, deadline, who.admin);
  await ok(usd, who.admin, "mint", claim.address, loss + 16n);
  const proof = tree.getProof(0);
  assert.equal(await fails(claim, who.relayer, "claim", who.lenderB, loss + 1n, proof), "InvalidClaim");
  assert.equal(await fails(claim, who.relayer, "claim", who.relayer, loss, proof), "InvalidClaim");
  const receipt = await ok(claim, who.relayer, "claim", who.lenderB, loss, proof);
  assert.equal(await usd.read("balanceOf", who.lenderB), loss);
  assert.equal(await fails(claim, who.relayer, "claim", who.lenderB, loss, proof), "AlreadyClaimed");
  assert.equal(await fails(claim, who.relayer, "sweep"), "ClaimsOpen");
  await aside(async () => {
    await rpc("evm_increaseTime", 86_400 + 60);
    await rpc("evm_mine");
    assert.equal(await fails(claim, who.relayer, "claim", who.lenderA, 7n, tree.getProof(1)), "ClaimsEnded");
    const before = await usd.read("balanceOf", who.admin);
    await ok(claim, who.relayer, "sweep");
    assert.equal(await usd.read("balanceOf", who.admin), before + 16n);
  });
  say(`claim: ${show(loss)} dUSD paid to lender B, submitted by somebody else, gas ${gas(receipt)}`);
}

const port = await freePort();
url = `http://127.0.0.1:${port}`;
const node = spawn(anvilPath, ["--port", String(port), "--silent"], { stdio: "ignore" });
try {
  await awaitStart(node);
  await main();
  say("all facts hold");
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  node.kill();
}
