// SPDX-License-Identifier: Apache-2.0

package main

import (
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	admission "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	storage "k8s.io/api/storage/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// newObject makes an empty object of the published type; nil if none is known.
func newObject(apiVersion, kind string) any {
	switch apiVersion + " " + kind {
	case "v1 ConfigMap":
		return new(core.ConfigMap)
	case "v1 Namespace":
		return new(core.Namespace)
	case "v1 PersistentVolume":
		return new(core.PersistentVolume)
	case "v1 PersistentVolumeClaim":
		return new(core.PersistentVolumeClaim)
	case "v1 Pod":
		return new(core.Pod)
	case "v1 Secret":
		return new(core.Secret)
	case "v1 Service":
		return new(core.Service)
	case "v1 ServiceAccount":
		return new(core.ServiceAccount)
	case "apps/v1 DaemonSet":
		return new(apps.DaemonSet)
	case "apps/v1 Deployment":
		return new(apps.Deployment)
	case "storage.k8s.io/v1 CSIDriver":
		return new(storage.CSIDriver)
	case "storage.k8s.io/v1 StorageClass":
		return new(storage.StorageClass)
	case "rbac.authorization.k8s.io/v1 ClusterRole":
		return new(rbac.ClusterRole)
	case "rbac.authorization.k8s.io/v1 ClusterRoleBinding":
		return new(rbac.ClusterRoleBinding)
	case "rbac.authorization.k8s.io/v1 Role":
		return new(rbac.Role)
	case "rbac.authorization.k8s.io/v1 RoleBinding":
		return new(rbac.RoleBinding)
	case "policy/v1 PodDisruptionBudget":
		return new(policy.PodDisruptionBudget)
	case "networking.k8s.io/v1 NetworkPolicy":
		return new(networking.NetworkPolicy)
	case "admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy":
		return new(admission.ValidatingAdmissionPolicy)
	case "admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding":
		return new(admission.ValidatingAdmissionPolicyBinding)
	case "monitoring.coreos.com/v1 PodMonitor":
		return new(monitoring.PodMonitor)
	case "monitoring.coreos.com/v1 PrometheusRule":
		return new(monitoring.PrometheusRule)
	case "serving.kserve.io/v1beta1 InferenceService":
		return new(inferenceService)
	case "serving.kserve.io/v1alpha1 ServingRuntime":
		return new(servingRuntime)
	case "serving.kserve.io/v1alpha1 ClusterStorageContainer":
		return new(clusterStorageContainer)
	case "karpenter.sh/v1 NodePool":
		return new(nodePool)
	}
	return nil
}

// The types of KServe and Karpenter come with 1,400 packages of their authors' dependencies. These have the
// fields that our examples use, named as there, around the pod and container types of Kubernetes. On a real
// cluster the API server checks the examples against the whole definitions.

// KServe 0.20, serving.kserve.io/v1beta1.
type inferenceService struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		Predictor struct {
			core.PodSpec         `json:",inline"` // containers may be missing here
			Model                *kserveModel     `json:"model,omitempty"`
			MinReplicas          *int32           `json:"minReplicas,omitempty"`
			MaxReplicas          int32            `json:"maxReplicas,omitempty"`
			StorageContainerName *string          `json:"storageContainerName,omitempty"`
		} `json:"predictor"`
	} `json:"spec"`
}

type kserveModel struct {
	core.Container  `json:",inline"`
	ModelFormat     kserveModelFormat `json:"modelFormat"`
	Runtime         *string           `json:"runtime,omitempty"`
	StorageURI      *string           `json:"storageUri,omitempty"`
	ProtocolVersion *string           `json:"protocolVersion,omitempty"`
}

type kserveModelFormat struct {
	Name    string  `json:"name"`
	Version *string `json:"version,omitempty"`
}

// KServe 0.20, serving.kserve.io/v1alpha1.
type servingRuntime struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		SupportedModelFormats []struct {
			Name       string  `json:"name"`
			Version    *string `json:"version,omitempty"`
			AutoSelect *bool   `json:"autoSelect,omitempty"`
			Priority   *int32  `json:"priority,omitempty"`
		} `json:"supportedModelFormats,omitempty"`
		ProtocolVersions []string         `json:"protocolVersions,omitempty"`
		MultiModel       *bool            `json:"multiModel,omitempty"`
		Containers       []core.Container `json:"containers"`
		Volumes          []core.Volume    `json:"volumes,omitempty"`
	} `json:"spec"`
}

type clusterStorageContainer struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Disabled        *bool `json:"disabled,omitempty"`
	Spec            struct {
		Container           core.Container `json:"container"`
		SupportedURIFormats []struct {
			Prefix string `json:"prefix,omitempty"`
			Regex  string `json:"regex,omitempty"`
		} `json:"supportedUriFormats"`
		WorkloadType               string `json:"workloadType,omitempty"`
		SupportsMultiModelDownload *bool  `json:"supportsMultiModelDownload,omitempty"`
	} `json:"spec"`
}

// Karpenter 1.x, karpenter.sh/v1.
type nodePool struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		Template struct {
			Metadata struct {
				Labels      map[string]string `json:"labels,omitempty"`
				Annotations map[string]string `json:"annotations,omitempty"`
			} `json:"metadata,omitempty"`
			Spec struct {
				NodeClassRef struct {
					Group string `json:"group"`
					Kind  string `json:"kind"`
					Name  string `json:"name"`
				} `json:"nodeClassRef"`
				Requirements []struct {
					core.NodeSelectorRequirement `json:",inline"`
					MinValues                    *int `json:"minValues,omitempty"`
				} `json:"requirements"`
				Taints        []core.Taint `json:"taints,omitempty"`
				StartupTaints []core.Taint `json:"startupTaints,omitempty"`
				ExpireAfter   string       `json:"expireAfter,omitempty"`
			} `json:"spec"`
		} `json:"template"`
		Disruption struct {
			ConsolidationPolicy string `json:"consolidationPolicy,omitempty"`
			ConsolidateAfter    string `json:"consolidateAfter,omitempty"`
		} `json:"disruption,omitempty"`
		Limits core.ResourceList `json:"limits,omitempty"`
		Weight *int32            `json:"weight,omitempty"`
	} `json:"spec"`
}
