// Compiles Cordon's Solidity into contracts/artifacts, or checks that what is committed there matches the sources.
//
// In: contracts/src/*.sol and the OpenZeppelin packages under node_modules. Out: one JSON file per contract.
// Each contract is compiled alone, so that adding one never changes the artifact of another.
// It must never reach for the network, nor write anything in check mode.
//
//   node contracts/compile.mjs            write the artifacts
//   node contracts/compile.mjs --check    exit 1 and name each artifact that is missing, stale, or not ours

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(here);
const artifactsDir = join(here, "artifacts");

// Every contract that something deploys or calls, and the source unit that defines it.
const own = (name) => [name, `contracts/src/${name}.sol`];
const contracts = [
  own("CollateralVault"),
  own("DrainController"),
  own("Drainer"),
  own("DrillToken"),
  own("LendingVault"),
  own("LendingVaultV2"),
  own("LendingVaultV2BadLayout"),
  own("LendingVaultV2Wrong"),
  own("LeverageZap"),
  own("MerkleClaim"),
  ["ERC1967Proxy", "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol"],
  ["TimelockController", "@openzeppelin/contracts/governance/TimelockController.sol"],
];

// Without the metadata hash the bytecode depends on the code alone and not on comments or file names.
const settings = {
  evmVersion: "cancun",
  metadata: { bytecodeHash: "none" },
  optimizer: { enabled: true, runs: 200 },
};

const outputs = [
  "abi",
  "metadata",
  "storageLayout",
  "evm.bytecode.object",
  "evm.bytecode.linkReferences",
  "evm.deployedBytecode.object",
  "evm.methodIdentifiers",
];

function readSource(unit) {
  const path = unit.startsWith("@") ? join(root, "node_modules", unit) : join(root, unit);
  return readFileSync(path, "utf8");
}

function findImport(unit) {
  try {
    return { contents: readSource(unit) };
  } catch (error) {
    return { error: `cannot read ${unit}: ${error.message}` };
  }
}

/** Hash over the names and contents of all sources that went into the contract, its imports included. */
function hashSources(metadata) {
  const hash = createHash("sha256");
  for (const unit of Object.keys(JSON.parse(metadata).sources).sort()) {
    hash.update(unit).update("\0").update(readSource(unit)).update("\0");
  }
  return hash.digest("hex");
}

function compile(solc, [name, unit]) {
  const input = {
    language: "Solidity",
    sources: { [unit]: { content: readSource(unit) } },
    settings: { ...settings, outputSelection: { [unit]: { [name]: outputs } } },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: findImport }));
  // A warning in our own code stops the build: the only time to look at it is when it is new.
  const problems = (output.errors ?? []).filter(
    (e) => e.severity === "error" || e.sourceLocation?.file.startsWith("contracts/"),
  );
  if (problems.length > 0) {
    throw new Error(`${name} does not compile:\n${problems.map((e) => e.formattedMessage).join("\n")}`);
  }
  const result = output.contracts[unit][name];
  if (Object.keys(result.evm.bytecode.linkReferences).length > 0) {
    throw new Error(`${name} needs library linking, which the artifacts do not describe`);
  }
  return {
    contractName: name,
    compiler: solc.version(),
    settings,
    sourceSha256: hashSources(result.metadata),
    abi: result.abi,
    bytecode: `0x${result.evm.bytecode.object}`,
    deployedBytecode: `0x${result.evm.deployedBytecode.object}`,
    storageLayout: result.storageLayout,
    methodIdentifiers: result.evm.methodIdentifiers,
  };
}

function loadCompiler() {
  try {
    return createRequire(import.meta.url)("solc");
  } catch {
    throw new Error("the compiler is not installed: run `npm ci --ignore-scripts` in the repository's root");
  }
}

function main(args) {
  const check = args.length === 1 && args[0] === "--check";
  if (args.length > 0 && !check) {
    throw new Error(`unknown arguments ${args.join(" ")}: expected none or --check`);
  }
  const solc = loadCompiler();
  const wanted = new Map(
    contracts.map((contract) => [`${contract[0]}.json`, `${JSON.stringify(compile(solc, contract), null, 2)}\n`]),
  );
  const present = existsSync(artifactsDir) ? readdirSync(artifactsDir).filter((file) => file.endsWith(".json")) : [];
  const strays = present.filter((file) => !wanted.has(file));
  const differing = [...wanted].filter(
    ([file, text]) => !present.includes(file) || readFileSync(join(artifactsDir, file), "utf8") !== text,
  );

  if (check) {
    for (const [file] of differing) console.error(`contracts/artifacts/${file} differs from its sources`);
    for (const file of strays) console.error(`contracts/artifacts/${file} belongs to no listed contract`);
    if (differing.length + strays.length > 0) return 1;
    console.log(`${wanted.size} artifacts match their sources (solc ${solc.version()})`);
    return 0;
  }
  mkdirSync(artifactsDir, { recursive: true });
  for (const [file, text] of differing) writeFileSync(join(artifactsDir, file), text);
  for (const file of strays) rmSync(join(artifactsDir, file));
  console.log(`${wanted.size} contracts compiled, ${differing.length} artifacts written, ${strays.length} removed`);
  return 0;
}

try {
  process.exitCode = main(process.argv.slice(2));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
