{{/* The name of all objects. */}}
{{- define "stevedore.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The ServiceAccount that the operator runs as. */}}
{{- define "stevedore.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "stevedore.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed if serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The Lease by which operators agree on who works: the operator's own default, or what extraArgs call it. */}}
{{- define "stevedore.leaseName" -}}
{{- $name := "stevedore" -}}
{{- range .Values.extraArgs -}}
{{- if hasPrefix "--lease-name=" . -}}
{{- $name = trimPrefix "--lease-name=" . -}}
{{- end -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* The labels by which the Deployment finds its Pods: never changed, a Deployment's selector is immutable. */}}
{{- define "stevedore.selector" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/name: {{ .Chart.Name }}
{{- end -}}

{{/* The labels of all objects. */}}
{{- define "stevedore.labels" -}}
app.kubernetes.io/component: operator
{{ include "stevedore.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The image by digest, or by tag. */}}
{{- define "stevedore.image" -}}
{{- with .Values.image -}}
{{- $repository := required "image.repository is needed: no image is published, see \"An image\" in the README" .repository -}}
{{- if .digest -}}
{{- printf "%s@%s" $repository .digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}
