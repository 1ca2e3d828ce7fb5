{{/* upshift.toml of a coordinator: they differ in the address by which others reach them. Given: root, number. */}}
{{- define "upshift.coordinatorConfiguration" -}}
{{- $host := include "upshift.coordinatorHost" . -}}
{{- with .root.Values -}}
[cluster]
name = {{ toJson .cluster.name }}
etcd = {{ toJson .etcd.endpoints }}
{{- if .etcd.user }}
etcd_user = {{ toJson .etcd.user }}
etcd_password_file = "/run/secrets/upshift/etcd.password"
{{- end }}
lease = {{ toJson .cluster.lease }}
listen = "0.0.0.0:7432"
advertise = "https://{{ $host }}:7432"
{{- if .metrics.enabled }}
metrics = "0.0.0.0:9464"
# Metrics, that is: all else has certificates.
insecure = true
{{- end }}
max_units = {{ .cluster.maxUnits }}
max_runs = {{ .cluster.maxRuns }}
max_pack = {{ toJson .cluster.maxPack }}
{{ include "upshift.tls" . }}
{{- if .etcd.tlsSecret }}

[cluster.etcd_tls]
ca = "/run/secrets/etcd/ca.crt"
{{- if .etcd.clientCertificate }}
certificate = "/run/secrets/etcd/tls.crt"
key = "/run/secrets/etcd/tls.key"
{{- end }}
{{- end }}
{{ include "upshift.databases" (dict "values" . "coordinator" true) }}
{{- range $address, $limits := .servers }}

[servers.{{ toJson $address }}]
{{- with $limits.maxUnits }}
max_units = {{ . }}
{{- end }}
{{- with $limits.maxRuns }}
max_runs = {{ . }}
{{- end }}
{{- end }}
{{- with .extraConfig }}

{{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* upshift.toml of workers. */}}
{{- define "upshift.workerConfiguration" -}}
[cluster]
name = {{ toJson .Values.cluster.name }}
coordinators = [
{{- range $number := until (int .Values.coordinator.replicas) }}
  "https://{{ include "upshift.coordinatorHost" (dict "root" $ "number" $number) }}:7432",
{{- end }}
]
{{ include "upshift.tls" .Values }}
{{ include "upshift.databases" (dict "values" .Values "coordinator" false) }}
{{- with .Values.extraConfig }}

{{ . }}
{{- end }}
{{- end -}}

{{- define "upshift.tls" }}
[cluster.tls]
ca = "/run/secrets/tls/ca.crt"
certificate = "/run/secrets/tls/tls.crt"
key = "/run/secrets/tls/tls.key"
{{- end -}}

{{/* [databases.NAME], with the places of their passwords. Given: values, and whether for a coordinator. */}}
{{- define "upshift.databases" -}}
{{- $values := .values -}}
{{- $coordinator := .coordinator -}}
{{- range $name, $database := $values.databases }}
[databases.{{ $name }}]
{{- range $keyword, $value := $database.settings }}
{{ $keyword }} = {{ toJson $value }}
{{- end }}
{{- if and $values.databaseCaConfigMap (not (hasKey $database.settings "sslrootcert")) }}
sslrootcert = "/run/secrets/databases/ca.crt"
{{- end }}
{{- if $database.passwordSecret }}
password_file = "/run/secrets/upshift/{{ $name }}"
{{- end }}
{{- if $coordinator }}
{{- with $database.labels }}
labels = { {{- range $index, $key := keys . | sortAlpha }}{{ if $index }},{{ end }} {{ toJson $key }} = {{ toJson (get $database.labels $key) }}{{ end }} }
{{- end }}
{{- with $database.maxUnits }}
max_units = {{ . }}
{{- end }}
{{- end }}
{{ end }}
{{- end -}}

{{/* As a block of a ConfigMap: no line ends in blanks, and no two are empty. */}}
{{- define "upshift.block" -}}
{{- regexReplaceAll "\n\\s*\n" (trim .) "\n\n" | nindent 4 | replace "\n    \n" "\n\n" -}}
{{- end -}}
