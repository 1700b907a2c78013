/** Mail by SMTP. The operator's own server is reached as it is set; one that a channel names is reached by the rules of targets. */
import { isIP } from 'node:net';
import nodemailer from 'nodemailer';
import type { ChannelDocument, Smtp } from './channel-document.ts';
import type { Outgoing, SendOptions, SendOutcome } from './outgoing.ts';
import { ESCAPES, renderText, viewOf } from './templates.ts';
import { HTML, SUBJECT, TEXT } from './texts.ts';
import type { WaysOut } from './ways-out.ts';

type Email = Extract<ChannelDocument, { type: 'email' }>;
/** The operator's server and sender, from the settings; empty: there is none. */
export type MailSettings = { smtpUrl: string; from: string };

const LONGEST_SUBJECT = 500;
const LONGEST_BODY = 200_000;
/** SMTP (RFC 5321, 4.2.1): 4yz may be tried again, 5yz not. What has no code is the network's. */
const PERMANENT = 500;

export type Mail = { from: string; to: string[]; subject: string; text: string; html: string };

/** The mail of a delivery. A channel's own body is the text; its HTML is that text again. */
export function mailOf({ channel, message }: Outgoing<Email>, publicUrl: string, from: string): Mail {
  const view = viewOf(message, publicUrl);
  const own = channel.templates?.body;
  const text = renderText(own ?? TEXT, view, ESCAPES.text)
    .slice(0, LONGEST_BODY)
    .toWellFormed();
  const html = own === undefined ? renderText(HTML, view, ESCAPES.html) : `<pre style="white-space: pre-wrap">${ESCAPES.html(text)}</pre>`;
  const subject = renderText(channel.templates?.subject ?? SUBJECT, view, ESCAPES.text)
    .replaceAll(/\s+/g, ' ')
    .trim();
  return { from, to: channel.to, subject: subject.slice(0, LONGEST_SUBJECT).toWellFormed(), text, html };
}

export async function sendMail(
  waysOut: WaysOut,
  settings: MailSettings,
  outgoing: Outgoing<Email>,
  options: SendOptions,
): Promise<SendOutcome> {
  const { channel, id } = outgoing;
  const from = channel.from ?? settings.from;
  if (channel.smtp === undefined && settings.smtpUrl === '')
    return { status: 'failed', retryable: false, detail: 'there is no mail server: set SMTP_URL, or smtp of the channel' };
  if (from === '') return { status: 'failed', retryable: false, detail: 'there is no sender: set MAIL_FROM, or from of the channel' };
  const ending = AbortSignal.any([options.signal, AbortSignal.timeout(options.timeoutMs)]);
  const patient = { ...options, signal: ending };
  const transport = nodemailer.createTransport(channel.smtp ? ofChannel(waysOut, channel.smtp, patient) : ofSettings(settings, patient));
  try {
    const sent = await transport.sendMail({
      ...mailOf(outgoing, options.publicUrl, from),
      messageId: `<${id}@${from.split('@')[1]}>`,
      headers: { 'Auto-Submitted': 'auto-generated', 'X-Almanac-Delivery': id },
      disableFileAccess: true,
      disableUrlAccess: true,
      signal: ending,
    });
    // one that is refused among others would come twice to those others
    const refused = sent.rejected.length === 0 ? '' : `; refused were ${sent.rejected.join(', ')}`;
    return { status: 'delivered', detail: `the mail server said ${sent.response}${refused}`.slice(0, 500).toWellFormed() };
  } catch (error) {
    return failureOf(error as SmtpError);
  } finally {
    transport.close();
  }
}

const patience = ({ timeoutMs }: SendOptions) => ({ connectionTimeout: timeoutMs, greetingTimeout: timeoutMs, socketTimeout: timeoutMs });

const ofSettings = ({ smtpUrl }: MailSettings, options: SendOptions) => ({ url: smtpUrl, ...patience(options) });

function ofChannel(waysOut: WaysOut, { host, port, tls, username, password }: Smtp, options: SendOptions) {
  const bare = host.replace(/^\[|\]$/g, '');
  return {
    host: bare,
    port,
    secure: tls === 'implicit',
    requireTLS: tls === 'required',
    ...(username === undefined ? {} : { auth: { user: username, pass: password ?? '' } }),
    tls: isIP(bare) === 0 ? { servername: bare } : {},
    ...patience(options),
    // the socket is ours, so that its address is judged like any target's
    getSocket: (_options: unknown, callback: (error: Error | null, socket?: { connection: unknown }) => void) => {
      waysOut.connect(bare, port, options.timeoutMs).then(
        (connection) => {
          // nobody waits for it any more
          if (options.signal.aborted) connection.destroy();
          callback(null, { connection });
        },
        (error: Error) => callback(error),
      );
    },
  };
}

type SmtpError = Error & { code?: string; responseCode?: number };

function failureOf(error: SmtpError): SendOutcome {
  const refused = error.code === 'ALMANAC_ADDRESS_REFUSED';
  const permanent = refused || (error.responseCode ?? 0) >= PERMANENT;
  const detail = `mail: ${error.message || error.code || error.name}`.replaceAll(/\s+/g, ' ').slice(0, 500).toWellFormed();
  return { status: 'failed', retryable: !permanent, detail };
}
