import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import { AddressRuleError, createAddressRules, literalAddressProblem } from '../../../src/activities/targets/address-rules.ts';

const strict = createAddressRules({ allow: [], deny: [] });
const open = createAddressRules({ allow: ['0.0.0.0/0', '::/0', 'metadata.google.internal'], deny: [] });
const url = (host: string) => `http://${host}/`;

for (const host of ['8.8.8.8', '[2606:4700::1111]', '1.1.1.1', '[64:ff9b::808:808]', '[::ffff:8.8.8.8]', 'example.com']) {
  test(`${host} may be reached`, () => assert.equal(literalAddressProblem(url(host), strict), null));
}

const notPublic = [
  '127.0.0.1', '2130706433', '0x7f.1', '0177.0.0.1', '127.1', '10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1', '100.64.0.1', '198.18.0.1', '192.0.2.1', '240.0.0.1',
  '[::1]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[::127.0.0.1]', '[64:ff9b::7f00:1]', '[64:ff9b:1::a00:1]', '[2002:7f00:1::]', '[2001:0:1::1]', '[fc00::1]', '[fd12::1]', '[fec0::1]',
  '[2001:db8::1]', '[100::1]', '[::ffff:0:127.0.0.1]', '[5f00::1]', '[4000::1]',
]; // biome-ignore format: a table
for (const host of notPublic) {
  test(`${host} is refused unless allowed`, () => {
    assert.match(literalAddressProblem(url(host), strict) ?? '', /not a public address/);
    assert.equal(literalAddressProblem(url(host), open), null);
  });
}

const never = [
  '169.254.169.254', '2852039166', '0xa9fea9fe', '[::ffff:169.254.169.254]', '[::ffff:a9fe:a9fe]', '[64:ff9b::a9fe:a9fe]', '[2002:a9fe:a9fe::]', '[::169.254.169.254]', '[fe80::1]', '[febf::1]',
  '[fd00:ec2::254]', '[fd20:ce::254]', '100.100.100.200', '168.63.129.16', '192.0.0.192', '0.0.0.0', '0', '[::]', '224.0.0.1', '255.255.255.255', '[ff02::1]', 'metadata.google.internal', 'METADATA.google.internal.',
]; // biome-ignore format: a table
for (const host of never) {
  test(`${host} is refused even if everything is allowed`, () =>
    assert.match(literalAddressProblem(url(host), open) ?? '', /never reached/));
}

test('the edges of an allowed block are its own', () => {
  const rules = createAddressRules({ allow: ['10.1.0.0/16'], deny: [] });
  assert.equal(rules.addressProblem('10.1.0.0', 'x', 80), null);
  assert.equal(rules.addressProblem('10.1.255.255', 'x', 80), null);
  assert.ok(rules.addressProblem('10.0.255.255', 'x', 80));
  assert.ok(rules.addressProblem('10.2.0.0', 'x', 80));
  assert.equal(rules.addressProblem('::ffff:10.1.0.1', 'x', 80), null);
});

test('an allowed name allows the addresses it has, and no other name', () => {
  const rules = createAddressRules({ allow: ['billing.internal', '*.apps.internal'], deny: [] });
  assert.equal(rules.addressProblem('10.0.0.5', 'Billing.Internal.', 80), null);
  assert.equal(rules.addressProblem('10.0.0.5', 'a.apps.internal', 80), null);
  assert.ok(rules.addressProblem('10.0.0.5', 'apps.internal', 80));
  assert.ok(rules.addressProblem('10.0.0.5', 'evilapps.internal', 80));
  assert.ok(rules.addressProblem('10.0.0.5', 'billing.internal.evil.com', 80));
  assert.match(rules.addressProblem('169.254.169.254', 'billing.internal', 80) ?? '', /never/);
});

test('a denied loopback port is denied under every address of this machine', () => {
  const rules = createAddressRules({ allow: ['0.0.0.0/0', '::/0'], deny: ['127.0.0.1:5432', 'postgres:5433', '[::1]:5434'] });
  const own = Object.values(networkInterfaces())
    .flatMap((each) => each ?? [])
    .map(({ address }) => address);
  for (const address of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1', ...own.filter((each) => !each.startsWith('fe80'))]) {
    assert.match(rules.addressProblem(address, 'anything', 5432) ?? '', /Almanac's own/, address);
    assert.match(rules.addressProblem(address, 'anything', 5434) ?? '', /Almanac's own/, address);
  }
  assert.equal(rules.addressProblem('127.0.0.1', 'localhost', 5431), null);
  assert.equal(rules.addressProblem('203.0.113.7', 'x', 5432), null);
  assert.match(rules.hostProblem('Postgres', 5433) ?? '', /Almanac's own/);
  assert.deepEqual(rules.deniedNames(5433), ['postgres']);
});

test('a URL with credentials, another scheme or no host is refused', () => {
  assert.match(literalAddressProblem('http://user:pw@example.com/', strict) ?? '', /user name or password/);
  assert.match(literalAddressProblem('ftp://example.com/', strict) ?? '', /ftp is not supported/);
  assert.match(literalAddressProblem('file:///etc/passwd', strict) ?? '', /file is not supported/);
  assert.match(literalAddressProblem('/close', strict) ?? '', /not an absolute URL/);
});

test('an entry that can not be read is an error that quotes it', () => {
  for (const entry of ['10.0.0.0/33', '10.0.0', 'bad name', 'http://x', '']) {
    assert.throws(
      () => createAddressRules({ allow: [entry], deny: [] }),
      (error) => error instanceof AddressRuleError && error.message.includes(JSON.stringify(entry)),
    );
  }
  for (const entry of ['5432', 'localhost', 'localhost:0', 'localhost:70000', ':80']) {
    assert.throws(() => createAddressRules({ allow: [], deny: [entry] }), AddressRuleError);
  }
});
