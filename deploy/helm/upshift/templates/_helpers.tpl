{{/* Names begin with this. */}}
{{- define "upshift.name" -}}
{{- if contains "upshift" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-upshift" (.Release.Name | trunc 32 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* By which pods are found. Given: root, part. */}}
{{- define "upshift.selector" -}}
app.kubernetes.io/name: upshift
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "upshift.labels" -}}
{{ include "upshift.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "upshift.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The host of a coordinator: what its certificate holds. Given: root, number. */}}
{{- define "upshift.coordinatorHost" -}}
{{- $name := include "upshift.name" .root -}}
{{- printf "%s-coordinator-%d.%s-coordinator.%s.svc" $name (int .number) $name .root.Release.Namespace -}}
{{- end -}}

{{/* Pod Security Standards: restricted. */}}
{{- define "upshift.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
# Files of Secrets are for this group.
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "upshift.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Volumes that both have. Given: root, part, tls (a Secret's name), scratch (its size). */}}
{{- define "upshift.volumes" -}}
- name: configuration
  configMap:
    name: {{ include "upshift.name" .root }}-{{ .part }}
    defaultMode: 0440
- name: tls
  secret:
    secretName: {{ .tls }}
    defaultMode: 0440
- name: scratch
  emptyDir:
    sizeLimit: {{ .scratch }}
- name: tmp
  emptyDir:
    sizeLimit: {{ .scratch }}
{{- with .root.Values.databaseCaConfigMap }}
- name: databases-ca
  configMap:
    name: {{ . }}
    defaultMode: 0440
{{- end }}
- name: secrets
  projected:
    defaultMode: 0440
    {{- if not (include "upshift.hasSecrets" .) }}
    sources: []
    {{- else }}
    sources:
      {{- range $name, $database := .root.Values.databases }}
      {{- with $database.passwordSecret }}
      - secret:
          name: {{ .name }}
          items:
            - {key: {{ .key }}, path: {{ $name }}}
      {{- end }}
      {{- end }}
      {{- if and (eq .part "coordinator") .root.Values.etcd.user }}
      - secret:
          name: {{ .root.Values.etcd.passwordSecret.name }}
          items:
            - {key: {{ .root.Values.etcd.passwordSecret.key }}, path: etcd.password}
      {{- end }}
    {{- end }}
{{- end -}}

{{/* Whether there is a password to be mounted. Given: root, part. */}}
{{- define "upshift.hasSecrets" -}}
{{- if and (eq .part "coordinator") .root.Values.etcd.user -}}yes{{- end -}}
{{- range .root.Values.databases -}}{{- if .passwordSecret -}}yes{{- end -}}{{- end -}}
{{- end -}}

{{- define "upshift.mounts" -}}
- {name: configuration, mountPath: /etc/upshift, readOnly: true}
- {name: tls, mountPath: /run/secrets/tls, readOnly: true}
- {name: secrets, mountPath: /run/secrets/upshift, readOnly: true}
- {name: scratch, mountPath: /var/lib/upshift}
- {name: tmp, mountPath: /tmp}
{{- if .Values.databaseCaConfigMap }}
- {name: databases-ca, mountPath: /run/secrets/databases, readOnly: true}
{{- end }}
{{- end -}}

{{/* A way out to peers, on their ports; to any address where no peer is named. */}}
{{- define "upshift.peers" -}}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .peers }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
