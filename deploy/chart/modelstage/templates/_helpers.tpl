{{- /* There is one driver per cluster, so names are fixed: they do not depend on the release. */ -}}
{{- define "modelstage.driver" -}}csi.modelstage.io{{- end -}}

{{- define "modelstage.selector" -}}
app.kubernetes.io/name: modelstage
app.kubernetes.io/component: {{ . }}
{{- end -}}

{{- /* (dict "root" $ "component" NAME "more" MAP): no later word wins over the selector's labels. */ -}}
{{- define "modelstage.labels" -}}
{{- $own := dict "app.kubernetes.io/name" "modelstage" "app.kubernetes.io/instance" .root.Release.Name
      "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service
      "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- with .component }}{{ $_ := set $own "app.kubernetes.io/component" . }}{{ end -}}
{{- toYaml (merge $own (.more | default dict) .root.Values.commonLabels) -}}
{{- end -}}

{{- define "modelstage.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* "true" if the agents write to node objects, or ask the API server for anything at all. */ -}}
{{- define "modelstage.patchesNodes" -}}
{{- if or .Values.startupTaint.enabled (eq .Values.nodeLabels "node") }}true{{ end -}}
{{- end -}}
{{- define "modelstage.agentTalks" -}}
{{- if or .Values.events (include "modelstage.patchesNodes" .) }}true{{ end -}}
{{- end -}}

{{- /*
The daemon's configuration. What has to fit the pod (sockets, folders, ports) is the chart's to say and the
schema refuses it in `config`; the rest of `config` goes through as it is.
*/ -}}
{{- define "modelstage.configCommon" -}}
{{- $c := deepCopy (.Values.config | default dict) -}}
{{- $_ := set $c "http" (dict "address" (printf ":%d" (int .Values.http.port))) -}}
{{- with .Values.node.hostPaths -}}
{{- $_ := set $c "policy" (merge (dict "layouts" .) ($c.policy | default dict)) -}}
{{- end -}}
{{- toYaml $c -}}
{{- end -}}

{{- define "modelstage.configNode" -}}
{{- $c := include "modelstage.configCommon" . | fromYaml -}}
{{- $_ := set $c "csi" (dict "endpoint" "unix:///csi/csi.sock" "kubeletRegistration" "/registration"
      "kubeletPath" (printf "%s/plugins/%s/csi.sock" .Values.kubelet.root (include "modelstage.driver" .))) -}}
{{- $_ := set $c "control" (dict "socket" "/run/modelstage/control.sock") -}}
{{- $_ := set $c "cache" (merge (dict "root" .Values.cache.path) ($c.cache | default dict)) -}}
{{- if .Values.dockerConfig.secret -}}
{{- if ($c.credentials | default dict).dockerConfig -}}
{{- fail "dockerConfig.secret and config.credentials.dockerConfig cannot both be set" -}}
{{- end -}}
{{- $_ := set $c "credentials" (merge (dict "dockerConfig" "/etc/modelstage/docker/config.json") ($c.credentials | default dict)) -}}
{{- end -}}
{{- $kubernetes := dict "events" (ternary "on" "off" .Values.events)
      "startupTaint" (ternary .Values.startupTaint.key "" .Values.startupTaint.enabled)
      "labels" .Values.nodeLabels "nfdDir" .Values.nfdDir -}}
{{- if not (include "modelstage.agentTalks" .) }}{{ $_ := set $kubernetes "serviceAccount" "" }}{{ end -}}
{{- $_ := set $c "kubernetes" (merge $kubernetes ($c.kubernetes | default dict)) -}}
{{- toYaml $c -}}
{{- end -}}

{{- define "modelstage.configController" -}}
{{- $c := pick (include "modelstage.configCommon" . | fromYaml) "http" "log" "policy" "kubernetes" -}}
{{- $_ := set $c "csi" (dict "endpoint" "unix:///csi/csi.sock" "kubeletRegistration" "") -}}
{{- toYaml $c -}}
{{- end -}}

{{- /* What is mounted into an agent can neither hide another mount nor what the image runs from. */ -}}
{{- define "modelstage.checkMounts" -}}
{{- $taken := dict -}}
{{- range list "/bin" "/dev" "/etc/modelstage" "/etc/ssl" "/lib" "/lib64" "/proc" "/run/modelstage" "/sbin" "/sys" "/tmp" "/usr/bin" "/usr/lib"
      "/csi" "/registration" -}}
{{- $_ := set $taken . "the agent's own" -}}
{{- end -}}
{{- range list "pods" "plugins_registry" (printf "plugins/%s" (include "modelstage.driver" .)) -}}
{{- $_ := set $taken (printf "%s/%s" (clean $.Values.kubelet.root) .) "kubelet's" -}}
{{- end -}}
{{- $wanted := list (list "cache.path" .Values.cache.path) -}}
{{- if eq .Values.nodeLabels "nfd" }}{{ $wanted = append $wanted (list "nfdDir" .Values.nfdDir) }}{{ end -}}
{{- range .Values.node.hostPaths }}{{ $wanted = append $wanted (list "node.hostPaths" .) }}{{ end -}}
{{- range $wanted -}}
{{- $name := first . }}{{ $path := clean (last .) -}}
{{- range $other, $whose := $taken -}}
{{- if or (hasPrefix (printf "%s/" $other) (printf "%s/" $path)) (hasPrefix (printf "%s/" $path) (printf "%s/" $other)) -}}
{{- fail (printf "%s: %s overlaps %s, which is %s" $name $path $other $whose) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $taken $path (printf "%s's" $name) -}}
{{- end -}}
{{- end -}}

{{- /* (dict "what" TEXT "names" LIST) */ -}}
{{- define "modelstage.checkUnique" -}}
{{- $seen := dict -}}
{{- range .names -}}
{{- if hasKey $seen . }}{{ fail (printf "%s: there are two of the name %s" $.what .) }}{{ end -}}
{{- $_ := set $seen . true -}}
{{- end -}}
{{- end -}}

{{- /* (list OWN USERS): annotations of a pod; no user's wins. */ -}}
{{- define "modelstage.annotations" -}}
{{- toYaml (merge (first .) (last .)) -}}
{{- end -}}
