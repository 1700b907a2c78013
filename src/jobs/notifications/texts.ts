/** Our own texts of messages; a channel may have others (templates.ts). */

export const SUBJECT = '[Almanac] {{headline}}';

/** Plain text of a mail. */
export const TEXT = `{{headline}}.
{{#jobs}}

* {{name}}{{#slot}}, slot {{slot}}{{/slot}}
{{#reason}}
  {{reason}}
{{/reason}}
  {{at}}  {{url}}
{{/jobs}}
{{#more}}

… and {{more}} more.
{{/more}}

{{url}}

Team {{team}}, channel {{channel}}.
`;

/** The same as HTML; mail programs know no more than this. */
export const HTML = `<!doctype html>
<html><body style="font-family: sans-serif; font-size: 14px; color: #222">
<p style="font-size: 16px"><b>{{headline}}</b></p>
{{#jobs}}
<p style="margin: 8px 0"><a href="{{url}}">{{name}}</a>{{#slot}}, slot {{slot}}{{/slot}}<br>
{{#reason}}
<span style="color: #a00">{{reason}}</span><br>
{{/reason}}
<span style="color: #777">{{at}}</span></p>
{{/jobs}}
{{#more}}
<p>… and {{more}} more.</p>
{{/more}}
<p><a href="{{url}}">Show in Almanac</a></p>
<p style="color: #777">Team {{team}}, channel {{channel}}.</p>
</body></html>
`;

/** Slack's own markup; understood by what speaks its protocol. */
export const SLACK = `*{{headline}}*
{{#jobs}}
• <{{url}}|{{name}}>{{#slot}}, slot {{slot}}{{/slot}}{{#reason}}: {{reason}}{{/reason}}
{{/jobs}}
{{#more}}
… and {{more}} more
{{/more}}
<{{url}}|Show in Almanac>`;

/** Without PUBLIC_URL a link leads nowhere: then names stand alone. */
export const SLACK_WITHOUT_LINKS = `*{{headline}}*
{{#jobs}}
• {{name}}{{#slot}}, slot {{slot}}{{/slot}}{{#reason}}: {{reason}}{{/reason}}
{{/jobs}}
{{#more}}
… and {{more}} more
{{/more}}
{{url}}`;

export const SUMMARY = '{{headline}}{{#job}}{{#reason}}: {{reason}}{{/reason}}{{/job}}';
